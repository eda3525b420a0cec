// Tells AddressSanitizer about switches between a thread's stack and a fiber's; nothing elsewhere.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#endif

namespace hetune {

// One for each fiber. The thread calls enter / left around a resume, the fiber calls entered at its
// start and after each return to it, leave before each switch away.
class FiberSanitizer {
  public:
#if defined(__SANITIZE_ADDRESS__)
    void enter() { __sanitizer_start_switch_fiber(&thread_fake_, bottom_, size_); }
    void left() { __sanitizer_finish_switch_fiber(thread_fake_, nullptr, nullptr); }
    void entered() { __sanitizer_finish_switch_fiber(fiber_fake_, &thread_bottom_, &thread_size_); }
    void leave() { __sanitizer_start_switch_fiber(&fiber_fake_, thread_bottom_, thread_size_); }
    void leave_for_good() { __sanitizer_start_switch_fiber(nullptr, thread_bottom_, thread_size_); }
    // Of an object that only an abandoned fiber still points to.
    static void ignore_leak(const void* object) { __lsan_ignore_object(object); }
    void set_stack(const void* bottom, size_t bytes) {
        bottom_ = bottom;
        size_ = bytes;
        clear_marks();
    }
    // clear_marks() removes the marks of an ended fiber's frames: the kernel may map a file where
    // the stack was, and reading the file would be taken for a fault.
    void clear_marks() { ASAN_UNPOISON_MEMORY_REGION(bottom_, size_); }

  private:
    void* thread_fake_ = nullptr;
    void* fiber_fake_ = nullptr;
    const void* thread_bottom_ = nullptr;
    size_t thread_size_ = 0;
    const void* bottom_ = nullptr;
    size_t size_ = 0;
#else
    void enter() {}
    void left() {}
    void entered() {}
    void leave() {}
    void leave_for_good() {}
    static void ignore_leak(const void*) {}
    void set_stack(const void*, size_t) {}
    void clear_marks() {}
#endif
};

}  // namespace hetune
