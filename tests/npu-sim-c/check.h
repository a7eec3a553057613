/* SPDX-License-Identifier: MIT */
/* The little that tests in C need: a check that says where and what, and goes on. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>

#include "npusim.h"

extern int failures;

#define CHECK(condition)                                                               \
  do {                                                                                 \
    if (!(condition)) {                                                                \
      printf("%s:%d: not true: %s (last error: %s)\n", __FILE__, __LINE__, #condition, \
             npusim_last_error());                                                     \
      ++failures;                                                                      \
    }                                                                                  \
  } while (0)

#define CHECK_EQ(left, right)                                                                 \
  do {                                                                                        \
    const long long left_ = (long long)(left), right_ = (long long)(right);                   \
    if (left_ != right_) {                                                                    \
      printf("%s:%d: %s is 0x%llx, not 0x%llx (last error: %s)\n", __FILE__, __LINE__, #left, \
             (unsigned long long)left_, (unsigned long long)right_, npusim_last_error());     \
      ++failures;                                                                             \
    }                                                                                         \
  } while (0)

/* layout_test.c, direct_test.c, iommu_test.c */
void test_layout(void);
void test_direct(void);
void test_iommu(void);

#endif
