// Whether two function types are called the same way on a 64-bit machine: the same number of
// parameters, each an integer, enumeration or pointer of the same size.
#pragma once

#include <type_traits>

namespace hetune::test {

template <class A, class B>
constexpr bool same_class = sizeof(A) == sizeof(B) && !std::is_floating_point_v<A> &&
                            !std::is_floating_point_v<B> && !std::is_class_v<A> &&
                            !std::is_class_v<B>;

template <class A, class B>
constexpr bool same_abi = false;
template <class R, class... P, class S, class... Q>
requires(sizeof...(P) ==
         sizeof...(Q)) constexpr bool same_abi<R(P...), S(Q...)> = same_class<R, S> &&
                                                                   (same_class<P, Q> && ...);

}  // namespace hetune::test
