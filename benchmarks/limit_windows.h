/* Sums and maxima of an image over each pixel's window, on all threads. */
#ifndef LIMIT_WINDOWS_H
#define LIMIT_WINDOWS_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <omp.h>

/* Add to `out` the sum of `image` over each pixel's window, with a table of cumulated sums. */
static void add_window_sums(const double *image, double *out, int64_t ny, int64_t nx, int64_t hy,
                            int64_t hx)
{
    double *rows = malloc(ny * nx * sizeof *rows);
#pragma omp parallel
    {
        double *sum = malloc((nx + 1) * sizeof *sum);
#pragma omp for schedule(static)
        for (int64_t y = 0; y < ny; y++) {
            sum[0] = 0;
            for (int64_t x = 0; x < nx; x++) sum[x + 1] = sum[x] + image[y * nx + x];
            for (int64_t x = 0; x < nx; x++) {
                int64_t low = x - hx < 0 ? 0 : x - hx, high = x + hx + 1 > nx ? nx : x + hx + 1;
                rows[y * nx + x] = sum[high] - sum[low];
            }
        }
        free(sum);
        double *column = calloc(nx, sizeof *column);
        int64_t team = omp_get_num_threads(), own = omp_get_thread_num();
        int64_t first = ny * own / team, last = ny * (own + 1) / team;
        for (int64_t y = first - hy; y <= first + hy; y++)
            if (y >= 0 && y < ny)
                for (int64_t x = 0; x < nx; x++) column[x] += rows[y * nx + x];
        for (int64_t y = first; y < last; y++) {
            for (int64_t x = 0; x < nx; x++) out[y * nx + x] += column[x];
            int64_t in = y + 1 + hy, off = y - hy;
            if (in < ny)
                for (int64_t x = 0; x < nx; x++) column[x] += rows[in * nx + x];
            if (off >= 0)
                for (int64_t x = 0; x < nx; x++) column[x] -= rows[off * nx + x];
        }
        free(column);
    }
    free(rows);
}

/* Maximum of `image`, which is not negative, over each pixel's window. */
static void window_max(const double *image, double *out, int64_t ny, int64_t nx, int64_t hy,
                       int64_t hx)
{
    double *rows = malloc(ny * nx * sizeof *rows);
#pragma omp parallel
    {
        double *padded = malloc((nx + 2 * hx) * sizeof *padded);
#pragma omp for schedule(static)
        for (int64_t y = 0; y < ny; y++) {
            memset(padded, 0, (nx + 2 * hx) * sizeof *padded);
            memcpy(padded + hx, image + y * nx, nx * sizeof *padded);
            int64_t size = 2 * hx + 1, length = nx + 2 * hx, reach = 1;
            while (reach < size) { /* padded[x] covers `reach` pixels from x on */
                int64_t shift = reach < size - reach ? reach : size - reach;
                length -= shift;
                for (int64_t x = 0; x < length; x++) padded[x] = fmax(padded[x], padded[x + shift]);
                reach += shift;
            }
            memcpy(rows + y * nx, padded, nx * sizeof *padded);
        }
        free(padded);
        enum { BLOCK = 64 };
        double *block = malloc((ny + 2 * hy) * BLOCK * sizeof *block);
#pragma omp for schedule(static)
        for (int64_t from = 0; from < nx; from += BLOCK) {
            int64_t wide = nx - from < BLOCK ? nx - from : BLOCK;
            memset(block, 0, (ny + 2 * hy) * BLOCK * sizeof *block);
            for (int64_t y = 0; y < ny; y++)
                memcpy(block + (y + hy) * BLOCK, rows + y * nx + from, wide * sizeof *block);
            int64_t size = 2 * hy + 1, length = ny + 2 * hy, reach = 1;
            while (reach < size) {
                int64_t shift = reach < size - reach ? reach : size - reach;
                length -= shift;
                for (int64_t j = 0; j < length * BLOCK; j++)
                    block[j] = fmax(block[j], block[j + shift * BLOCK]);
                reach += shift;
            }
            for (int64_t y = 0; y < ny; y++)
                memcpy(out + y * nx + from, block + y * BLOCK, wide * sizeof *block);
        }
        free(block);
    }
    free(rows);
}

#endif
