/* Which variant of the kernels runs. */
#include "isa.h"
#include "kernels.h"

#include <string.h>

const Isa *isa = &isa_scalar;

static int runs(const Isa *each) {
    if (each == &isa_avx512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (each == &isa_avx2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return 1;
}

const char *isa_choose(const char *name) {
    static const Isa *const best_first[] = {&isa_avx512, &isa_avx2, &isa_scalar};
    for (int i = 0; i < 3; i++) {
        const Isa *each = best_first[i];
        if (name && strcmp(name, each->name))
            continue;
        if (runs(each)) {
            isa = each;
            return each->name;
        }
        if (name)
            return NULL;
    }
    return NULL;
}
