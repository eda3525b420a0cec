// The end of a loop's body: around again until the rounds are done, or until draws have stopped by
// themselves. Leaves the count at 0, for the next time. Launch: [1].
#include "elementwise/step_state.h"
#include "prelude/prelude.h"
#include "sampling/loop_state.h"

extern "C" KERNEL(kWaveSize) void repeat(const StepState* INPUT
                                             step,           // of the decode step that comes next
                                         LoopState* loop) {  // [1]
    begin();
    if (thread_id() != 0) return;
    const int done = loop->done + 1;
    const bool again = done < loop->rounds && step->rows > 0;
    loop->done = again ? done : 0;
    if (loop->handle != 0) loop_again(loop->handle, again);
}
EXPORT_KERNEL(repeat)
