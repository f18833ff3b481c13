/* Vectors of float32 and float64. A PART is a vector's first elements: nothing else of it is read
   or written. A RANGE is elements from one on to before another, cut to what a vector has. OR joins
   vectors of which one is 0 where the other is not. Of two vectors one after the other, EVENS are
   elements 0, 2, 4 ...; FIRST and SECOND are the halves of x0, y0, x1, y1 ... */
#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES_f32 16
#define LANES_f64 8
typedef __m512 vec_f32;
typedef __m512d vec_f64;
typedef __mmask16 part_f32;
typedef __mmask8 part_f64;
#define PART_f32(count) ((__mmask16)((1u << (count)) - 1))
#define PART_f64(count) ((__mmask8)((1u << (count)) - 1))
#define RANGE_f32(from, to) \
    ((__mmask16)(~0u << larger(0, smaller(from, 16)) & ((1u << larger(0, smaller(to, 16))) - 1)))
#define RANGE_f64(from, to) \
    ((__mmask8)(~0u << larger(0, smaller(from, 8)) & ((1u << larger(0, smaller(to, 8))) - 1)))
#define LOAD_f32(p, part) _mm512_maskz_loadu_ps(part, p)
#define LOAD_f64(p, part) _mm512_maskz_loadu_pd(part, p)
#define STORE_f32(p, part, x) _mm512_mask_storeu_ps(p, part, x)
#define STORE_f64(p, part, x) _mm512_mask_storeu_pd(p, part, x)
#define SET_f32 _mm512_set1_ps
#define SET_f64 _mm512_set1_pd
#define FMA_f32 _mm512_fmadd_ps
#define FMA_f64 _mm512_fmadd_pd
#define PLUS_f32 _mm512_add_ps
#define PLUS_f64 _mm512_add_pd
#define WHOLE_f32(p) _mm512_loadu_ps(p)
#define WHOLE_f64(p) _mm512_loadu_pd(p)
#define PUT_f32(p, x) _mm512_storeu_ps(p, x)
#define PUT_f64(p, x) _mm512_storeu_pd(p, x)
#define OR_f32(x, y) \
    _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(x), _mm512_castps_si512(y)))
#define OR_f64(x, y) \
    _mm512_castsi512_pd(_mm512_or_si512(_mm512_castpd_si512(x), _mm512_castpd_si512(y)))
#define EVENS_f32(x, y) \
    _mm512_permutex2var_ps(x, _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, \
                                                28, 30), y)
#define EVENS_f64(x, y) \
    _mm512_permutex2var_pd(x, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), y)
#define FIRST_f32(x, y) \
    _mm512_permutex2var_ps(x, _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, \
                                                7, 23), y)
#define FIRST_f64(x, y) \
    _mm512_permutex2var_pd(x, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), y)
#define SECOND_f32(x, y) \
    _mm512_permutex2var_ps(x, _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, \
                                                30, 15, 31), y)
#define SECOND_f64(x, y) \
    _mm512_permutex2var_pd(x, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), y)
#elif defined(__AVX2__)
#include <immintrin.h>
#define LANES_f32 8
#define LANES_f64 4
typedef __m256 vec_f32;
typedef __m256d vec_f64;
typedef __m256i part_f32, part_f64;
#define PART_f32(count) \
    _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(count)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
#define PART_f64(count) \
    _mm256_cmpgt_epi64(_mm256_set1_epi64x((count)), _mm256_setr_epi64x(0, 1, 2, 3))
#define RANGE_f32(from, to) \
    _mm256_andnot_si256(PART_f32(larger(-1, smaller(from, 9))), \
                        PART_f32(larger(-1, smaller(to, 9))))
#define RANGE_f64(from, to) \
    _mm256_andnot_si256(PART_f64(larger(-1, smaller(from, 5))), \
                        PART_f64(larger(-1, smaller(to, 5))))
#define LOAD_f32(p, part) _mm256_maskload_ps(p, part)
#define LOAD_f64(p, part) _mm256_maskload_pd(p, part)
#define STORE_f32(p, part, x) _mm256_maskstore_ps(p, part, x)
#define STORE_f64(p, part, x) _mm256_maskstore_pd(p, part, x)
#define SET_f32 _mm256_set1_ps
#define SET_f64 _mm256_set1_pd
#define FMA_f32 _mm256_fmadd_ps
#define FMA_f64 _mm256_fmadd_pd
#define PLUS_f32 _mm256_add_ps
#define PLUS_f64 _mm256_add_pd
#define WHOLE_f32(p) _mm256_loadu_ps(p)
#define WHOLE_f64(p) _mm256_loadu_pd(p)
#define PUT_f32(p, x) _mm256_storeu_ps(p, x)
#define PUT_f64(p, x) _mm256_storeu_pd(p, x)
#define OR_f32 _mm256_or_ps
#define OR_f64 _mm256_or_pd
#define EVENS_f32(x, y) \
    _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(_mm256_shuffle_ps(x, y, 0x88)), 0xd8))
#define EVENS_f64(x, y) _mm256_permute4x64_pd(_mm256_unpacklo_pd(x, y), 0xd8)
#define FIRST_f32(x, y) \
    _mm256_permute2f128_ps(_mm256_unpacklo_ps(x, y), _mm256_unpackhi_ps(x, y), 0x20)
#define FIRST_f64(x, y) \
    _mm256_permute2f128_pd(_mm256_unpacklo_pd(x, y), _mm256_unpackhi_pd(x, y), 0x20)
#define SECOND_f32(x, y) \
    _mm256_permute2f128_ps(_mm256_unpacklo_ps(x, y), _mm256_unpackhi_ps(x, y), 0x31)
#define SECOND_f64(x, y) \
    _mm256_permute2f128_pd(_mm256_unpacklo_pd(x, y), _mm256_unpackhi_pd(x, y), 0x31)
#else
#define LANES_f32 1
#define LANES_f64 1
typedef f32 vec_f32;
typedef f64 vec_f64;
typedef int part_f32, part_f64;
#define PART_f32(count) ((int)(count))
#define PART_f64(count) ((int)(count))
#define RANGE_f32(from, to) ((int)((from) <= 0 && (to) > 0))
#define RANGE_f64 RANGE_f32
#define LOAD_f32(p, part) ((part) ? *(p) : 0)
#define LOAD_f64(p, part) ((part) ? *(p) : 0)
#define STORE_f32(p, part, x) ((void)(part), *(p) = (x))
#define STORE_f64(p, part, x) ((void)(part), *(p) = (x))
#define SET_f32(x) (x)
#define SET_f64(x) (x)
#define FMA_f32(x, y, z) ((x) * (y) + (z))
#define FMA_f64(x, y, z) ((x) * (y) + (z))
#define PLUS_f32(x, y) ((x) + (y))
#define PLUS_f64(x, y) ((x) + (y))
#define WHOLE_f32(p) (*(p))
#define WHOLE_f64(p) (*(p))
#define PUT_f32(p, x) (*(p) = (x))
#define PUT_f64(p, x) (*(p) = (x))
#define OR_f32(x, y) ((void)(x), (y))
#define OR_f64 OR_f32
#define EVENS_f32(x, y) ((void)(y), (x))
#define EVENS_f64(x, y) ((void)(y), (x))
#define FIRST_f32(x, y) ((void)(y), (x))
#define FIRST_f64(x, y) ((void)(y), (x))
#define SECOND_f32(x, y) ((void)(x), (y))
#define SECOND_f64(x, y) ((void)(x), (y))
#endif
