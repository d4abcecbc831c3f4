/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Which sanitizer this is compiled for: gcc and clang say so in ways of their own.
 */

#ifndef FOLIO_SANITIZER_H
#define FOLIO_SANITIZER_H

#ifdef __has_feature
#define SANITIZER(feature) __has_feature (feature)
#else
#define SANITIZER(feature) 0
#endif

#if SANITIZER(thread_sanitizer) || defined(__SANITIZE_THREAD__)
#define WITH_TSAN 1
#endif
#if SANITIZER(address_sanitizer) || defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#endif

#undef SANITIZER

#endif /* FOLIO_SANITIZER_H */
