/* A basic norm fit at every pixel, by hand: what a portable engine is measured against.
 *
 * Only bins with counts are visited. They are sorted by row, column and image, so that what a pixel
 * sees in one row of its window is one run of memory. Everything else that a fit needs is here too:
 * the proven start, the physical bound (exact, with pruning), Newton steps to convergence in double
 * precision, the curvature, the gain in likelihood, and window sums of background and of the
 * statistic without a source. The model's sum over each window is given: it is a convolution.
 *
 * The maths is told in the documentation ("How it works"); m(p, q) = sum_c kernel[c, q - p] e[c, q].
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <omp.h>

#include "limit_windows.h"

#define FLOOR 1e-25       /* least background in a logarithm, counts */
#define FAR 1e300         /* stands for infinity, which -ffast-math has none of */
#define STEP 1e-6         /* last step, in errors: Newton then is right to its square */
#define MAX_STEPS 60

typedef struct {
    int64_t images, components, ny, nx, ky, kx;
    const double *counts, *background; /* images, ny, nx */
    const double *exposure;            /* images, components, ny, nx */
    const double *kernel;              /* images, components, ky, kx */
} Dataset;

typedef struct { /* one value a pixel */
    double *norm, *s2, *gain, *bound, *stat_null, *background_sum;
    int32_t *niter;
} Result;

typedef struct {
    int64_t size;
    int64_t *start;            /* first occupied bin at or behind a pixel; ny * nx + 1 */
    int32_t *place;            /* column and image: where in a row of the kernel to look */
    double *n, *b, *e;         /* counts, background, and components of exposure of each bin */
    double *kernel;            /* ky, kx, images, components */
    uint8_t *reached, *bare;   /* per pixel: sees exposure; sees exposure without background */
} Lists;

/* ------------------------------------------------------------------ lists of occupied bins */

static Lists make_lists(const Dataset *d)
{
    Lists l;
    int64_t np = d->ny * d->nx, ic = d->images * d->components, window = d->ky * d->kx;
    l.start = malloc((np + 1) * sizeof *l.start);
    int64_t *row = malloc((d->ny + 1) * sizeof *row);
    row[0] = 0;
#pragma omp parallel for schedule(static)
    for (int64_t y = 0; y < d->ny; y++) {
        int64_t found = 0;
        for (int64_t i = 0; i < d->images; i++)
            for (int64_t x = 0; x < d->nx; x++)
                found += d->counts[i * np + y * d->nx + x] > 0;
        row[y + 1] = found;
    }
    for (int64_t y = 0; y < d->ny; y++) row[y + 1] += row[y];
    l.size = row[d->ny];
    l.place = malloc((l.size + 1) * sizeof *l.place);
    l.n = malloc((l.size + 1) * sizeof *l.n);
    l.b = malloc((l.size + 1) * sizeof *l.b);
    l.e = malloc((l.size + 1) * d->components * sizeof *l.e);
#pragma omp parallel for schedule(static)
    for (int64_t y = 0; y < d->ny; y++) {
        int64_t at = row[y];
        for (int64_t x = 0; x < d->nx; x++) {
            int64_t p = y * d->nx + x;
            l.start[p] = at;
            for (int64_t i = 0; i < d->images; i++) {
                if (!(d->counts[i * np + p] > 0)) continue;
                l.n[at] = d->counts[i * np + p];
                l.b[at] = fmax(d->background[i * np + p], FLOOR);
                l.place[at] = (int32_t)(x * ic + i * d->components);
                for (int64_t c = 0; c < d->components; c++)
                    l.e[at * d->components + c] = d->exposure[(i * d->components + c) * np + p];
                at++;
            }
        }
    }
    l.start[np] = l.size;
    l.kernel = malloc(window * ic * sizeof *l.kernel);
    for (int64_t j = 0; j < ic; j++)
        for (int64_t k = 0; k < window; k++) l.kernel[k * ic + j] = d->kernel[j * window + k];
    l.reached = calloc(np, 1);
    l.bare = calloc(np, 1);
    free(row);
    return l;
}

static void free_lists(Lists *l)
{
    free(l->start), free(l->place), free(l->n), free(l->b), free(l->e), free(l->kernel);
    free(l->reached), free(l->bare);
}

/* ------------------------------------------------------------------ sums over windows */

/* Sums of background and of the statistic without a source over each pixel's window. */
static void window_sums(const Dataset *d, Lists *l, Result *out)
{
    int64_t np = d->ny * d->nx, hy = d->ky / 2, hx = d->kx / 2;
    double *mu = malloc(np * sizeof *mu), *stat = malloc(np * sizeof *stat);
    double *support = malloc(np * sizeof *support), *bare = malloc(np * sizeof *bare);
    double *around = malloc(np * sizeof *around);
    int any_bare = 0;
#pragma omp parallel for schedule(static) reduction(|| : any_bare)
    for (int64_t y = 0; y < d->ny; y++) {
        for (int64_t p = y * d->nx; p < (y + 1) * d->nx; p++) {
            double total = 0, logs = 0, seen = 0, without = 0;
            for (int64_t i = 0; i < d->images; i++) {
                double b = d->background[i * np + p], e = 0;
                total += b;
                for (int64_t c = 0; c < d->components; c++)
                    e = fmax(e, d->exposure[(i * d->components + c) * np + p]);
                seen = e > 0 ? 1 : seen;
                without = e > 0 && b <= 0 ? 1 : without;
            }
            for (int64_t at = l->start[p]; at < l->start[p + 1]; at++) logs += l->n[at] * log(l->b[at]);
            mu[p] = total, stat[p] = 2 * (total - logs), support[p] = seen, bare[p] = without;
            any_bare = any_bare || without > 0;
        }
    }
    add_window_sums(mu, out->background_sum, d->ny, d->nx, hy, hx);
    add_window_sums(stat, out->stat_null, d->ny, d->nx, hy, hx);
    window_max(support, around, d->ny, d->nx, hy, hx);
    for (int64_t p = 0; p < np; p++) l->reached[p] = around[p] > 0;
    if (any_bare) {
        window_max(bare, around, d->ny, d->nx, hy, hx);
#pragma omp parallel for schedule(dynamic, 4)
        for (int64_t py = 0; py < d->ny; py++)
            for (int64_t px = 0; px < d->nx; px++) {
                int64_t p = py * d->nx + px, ic = d->images * d->components;
                if (!(around[p] > 0)) continue;
                /* outwards from the middle row: the first that is found ends it */
                for (int64_t k = 0; k < d->ky * d->kx && !l->bare[p]; k++) {
                    int64_t turn = k / d->kx, dy = turn % 2 ? -(turn + 1) / 2 : turn / 2;
                    int64_t y = py + dy, x = px + k % d->kx - hx;
                    if (y < 0 || y >= d->ny || x < 0 || x >= d->nx) continue;
                    int64_t q = y * d->nx + x;
                    if (!(bare[q] > 0)) continue;
                    const double *kernel = l->kernel + ((dy + hy) * d->kx + k % d->kx) * ic;
                    for (int64_t i = 0; i < d->images; i++) {
                        if (d->background[i * np + q] > 0) continue;
                        for (int64_t c = 0; c < d->components; c++) {
                            int64_t j = i * d->components + c;
                            if (d->exposure[j * np + q] > 0) l->bare[p] |= kernel[j] > 0;
                        }
                    }
                }
            }
    }
    free(mu), free(stat), free(support), free(bare), free(around);
}

/* ------------------------------------------------------------------ the physical bound */

typedef struct { double value; int64_t k; } Offset;

static int by_value(const void *a, const void *b)
{
    double x = ((const Offset *)a)->value, y = ((const Offset *)b)->value;
    return (x < y) - (x > y);
}

/* Raise `best` to the largest model-to-background ratio in each pixel's window.
 *
 * Offsets are visited from the kernel's largest value down. A pixel is done when the value times
 * the largest ratio around it cannot beat what it has. */
static void steepest(const Dataset *d, const uint8_t *fitted, double *best)
{
    int64_t np = d->ny * d->nx, window = d->ky * d->kx, nc = d->components;
    int64_t hy = d->ky / 2, hx = d->kx / 2;
    double *ratio = malloc(np * nc * sizeof *ratio), *peak = malloc(nc * sizeof *peak);
    double *sum = malloc(np * sizeof *sum), *ceiling = malloc(np * sizeof *ceiling);
    Offset *order = malloc(window * sizeof *order);
    for (int64_t i = 0; i < d->images; i++) {
        const double *kernel = d->kernel + i * nc * window;
        for (int64_t c = 0; c < nc; c++) {
            peak[c] = 0;
            for (int64_t k = 0; k < window; k++) peak[c] = fmax(peak[c], kernel[c * window + k]);
        }
        for (int64_t k = 0; k < window; k++) {
            order[k].k = k, order[k].value = 0;
            for (int64_t c = 0; c < nc; c++)
                if (peak[c] > 0) order[k].value = fmax(order[k].value, kernel[c * window + k] / peak[c]);
        }
        qsort(order, window, sizeof *order, by_value);
        double *sorted = malloc(window * nc * sizeof *sorted);
        for (int64_t k = 0; k < window; k++)
            for (int64_t c = 0; c < nc; c++) sorted[k * nc + c] = kernel[c * window + order[k].k];
#pragma omp parallel for schedule(static)
        for (int64_t p = 0; p < np; p++) {
            double b = d->background[i * np + p], inverse = b > 0 ? 1 / b : 0;
            sum[p] = 0;
            for (int64_t c = 0; c < nc; c++) {
                ratio[p * nc + c] = d->exposure[(i * nc + c) * np + p] * inverse;
                sum[p] += peak[c] * ratio[p * nc + c];
            }
        }
        window_max(sum, ceiling, d->ny, d->nx, hy, hx);
#pragma omp parallel for schedule(dynamic, 4)
        for (int64_t py = 0; py < d->ny; py++)
            for (int64_t px = 0; px < d->nx; px++) {
                int64_t p = py * d->nx + px;
                if (!fitted[p]) continue;
                double most = best[p];
                for (int64_t k = 0; k < window && order[k].value * ceiling[p] > most; k++) {
                    int64_t y = py + order[k].k / d->kx - hy, x = px + order[k].k % d->kx - hx;
                    if (y < 0 || y >= d->ny || x < 0 || x >= d->nx) continue;
                    const double *there = ratio + (y * d->nx + x) * nc;
                    double value = 0;
                    for (int64_t c = 0; c < nc; c++) value += sorted[k * nc + c] * there[c];
                    most = fmax(most, value);
                }
                best[p] = most;
            }
        free(sorted);
    }
    free(ratio), free(peak), free(sum), free(ceiling), free(order);
}

/* ------------------------------------------------------------------ the fit of a pixel */

/* Append the counts, backgrounds and model counts of the occupied bins that a pixel sees. */
static int64_t collect(const Dataset *d, const Lists *l, int64_t py, int64_t px, int64_t found,
                       double *restrict n, double *restrict b, double *restrict m)
{
    int64_t hy = d->ky / 2, hx = d->kx / 2, nc = d->components, ic = d->images * nc;
    int64_t y0 = py - hy < 0 ? 0 : py - hy, y1 = py + hy >= d->ny ? d->ny - 1 : py + hy;
    int64_t x0 = px - hx < 0 ? 0 : px - hx, x1 = px + hx >= d->nx ? d->nx - 1 : px + hx;
    for (int64_t y = y0; y <= y1; y++) {
        const double *kernel = l->kernel + ((y - py + hy) * d->kx + hx - px) * ic;
        int64_t first = l->start[y * d->nx + x0], last = l->start[y * d->nx + x1 + 1];
        for (int64_t at = first; at < last; at++) {
            const double *value = kernel + l->place[at];
            double model = 0;
            for (int64_t c = 0; c < nc; c++) model += value[c] * l->e[at * nc + c];
            n[found] = l->n[at], b[found] = l->b[at], m[found] = model;
            found += model > 0;
        }
    }
    return found;
}

static void fit_pixel(int64_t size, const double *restrict n, const double *restrict r, double lower,
                      double total, int64_t p, Result *out)
{
    double x = fmax(lower, 0), s1, s2;
    int steps = 0;
    for (;;) {
        s1 = s2 = 0;
#pragma omp simd reduction(+ : s1, s2)
        for (int64_t j = 0; j < size; j++) {
            double inverse = 1 / (x + r[j]), term = n[j] * inverse;
            s1 += term, s2 += term * inverse;
        }
        if (!(s2 > 0)) { x = lower; break; }
        double moved = fmax(lower, x + (s1 / s2) * (s1 / total - 1));
        double step = fabs(moved - x) * sqrt(s2);
        x = moved;
        if (step < STEP || ++steps == MAX_STEPS) break;
    }
    double gain = 0;
    s2 = 0;
#pragma omp simd reduction(+ : gain, s2)
    for (int64_t j = 0; j < size; j++) {
        double inverse = 1 / (x + r[j]);
        s2 += n[j] * inverse * inverse;
        gain += n[j] * log(fmax(1 + x / r[j], 2.3e-16));
    }
    out->norm[p] = x, out->s2[p] = s2, out->gain[p] = gain, out->niter[p] = steps;
}

/* Fit every pixel. `seconds` gets the times of lists, window sums, bound, and fit.
 *
 * With `only_collect` the last of them ends when each pixel's bins are collected. */
int fit_all(int64_t count, const Dataset *data, const uint8_t *fitted, const double *model_sum,
            int threads, int only_collect, Result *out, double *seconds)
{
    int64_t ny = data->ny, nx = data->nx, np = ny * nx, most = 1;
    Lists *lists = malloc(count * sizeof *lists);
    uint8_t *wanted = calloc(np, 1), *bare = calloc(np, 1);
    omp_set_num_threads(threads);

    double clock = omp_get_wtime();
    for (int64_t s = 0; s < count; s++) lists[s] = make_lists(data + s);
    seconds[0] = omp_get_wtime() - clock, clock = omp_get_wtime();

    memset(out->stat_null, 0, np * sizeof(double));
    memset(out->background_sum, 0, np * sizeof(double));
    for (int64_t s = 0; s < count; s++) window_sums(data + s, lists + s, out);
    for (int64_t s = 0; s < count; s++)
        for (int64_t p = 0; p < np; p++) {
            wanted[p] |= fitted[p] && lists[s].reached[p] && model_sum[p] > 0;
            bare[p] |= lists[s].bare[p];
        }
    seconds[1] = omp_get_wtime() - clock, clock = omp_get_wtime();

    memset(out->bound, 0, np * sizeof(double));
    for (int64_t s = 0; s < count; s++) steepest(data + s, wanted, out->bound);
#pragma omp parallel for schedule(static)
    for (int64_t p = 0; p < np; p++)
        out->bound[p] = bare[p] || !(out->bound[p] > 0) ? 0 : -1 / out->bound[p];
    seconds[2] = omp_get_wtime() - clock, clock = omp_get_wtime();

    for (int64_t s = 0; s < count; s++) {
        int64_t seen = data[s].images * data[s].ky * data[s].kx;
        most += seen < lists[s].size ? seen : lists[s].size;
    }
#pragma omp parallel
    {
        double *n = malloc(4 * most * sizeof *n), *b = n + most, *m = b + most, *r = m + most;
#pragma omp for schedule(dynamic, 2)
        for (int64_t py = 0; py < ny; py++)
            for (int64_t px = 0; px < nx; px++) {
                int64_t p = py * nx + px, size = 0;
                out->norm[p] = out->s2[p] = out->gain[p] = out->niter[p] = 0;
                if (!wanted[p]) continue;
                for (int64_t s = 0; s < count; s++)
                    size = collect(data + s, lists + s, py, px, size, n, b, m);
                double lower = -FAR, inverse = 1 / model_sum[p];
#pragma omp simd reduction(max : lower)
                for (int64_t j = 0; j < size; j++) {
                    r[j] = b[j] / m[j];
                    /* stay inside the domain where the bound is lost in rounding */
                    lower = fmax(lower, fmax(n[j] * inverse - r[j], -r[j] * (1 - 1e-15)));
                }
                lower = fmax(lower, out->bound[p]);
                if (only_collect) out->norm[p] = lower;
                else fit_pixel(size, n, r, lower, model_sum[p], p, out);
            }
        free(n);
    }
    seconds[3] = omp_get_wtime() - clock;

    for (int64_t s = 0; s < count; s++) free_lists(lists + s);
    free(lists), free(wanted), free(bare);
    return 0;
}
