/* The product of two matrices as a textbook has it, for benchmarks/naive_gemm.py. */

void naive_sgemm(long m, long n, long k, const float *a, const float *b, float *out) {
    for (long i = 0; i < m; i++)
        for (long j = 0; j < n; j++) {
            float sum = 0;
            for (long l = 0; l < k; l++)
                sum += a[i * k + l] * b[l * n + j];
            out[i * n + j] = sum;
        }
}
