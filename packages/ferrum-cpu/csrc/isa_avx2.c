#pragma GCC target("avx2,fma,f16c,bmi2")
#define ISA avx2
#include "variant.h"
