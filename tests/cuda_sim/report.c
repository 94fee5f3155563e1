/* Faults in words, counters as JSON. */
#include "exec.h"

#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

char sim_last_msg[1024];
const char *const sim_class_name[CL_COUNT] = {
    "int",       "logic", "f16",     "bf16",    "f32",       "f64",       "cvt",
    "mov",       "pred",  "sfu",     "branch",  "ld_global", "st_global", "ld_shared",
    "st_shared", "local", "param",   "generic", "ldmatrix",  "cp_async",  "mma",
    "atom",      "warp",  "barrier", "fence",   "other"};

void sim_complain(const char *fmt, ...) {
    char line[1400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    fprintf(stderr, "cuda_sim: %s\n", line); /* one write */
}

void sim_where(char *buf, size_t n, const sim_program *p, const sim_insn *in) {
    const ptx_module *m = p->mod->ptx;
    const ptx_insn *s = in->src;
    const char *file = s->loc_file > 0 && s->loc_file < m->nfiles && m->files[s->loc_file]
                           ? m->files[s->loc_file]
                           : "?";
    snprintf(buf, n, "kernel %s, PTX line %d, %s:%d", p->name, s->line, file, s->loc_line);
}

void sim_fault(sim_warp *w, const sim_insn *in, int lane, uint64_t addr, int err, const char *fmt,
               ...) {
    sim_runner *r = w->run;
    sim_launch *l = r->l;
    char where[512], what[320], text[96];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    sim_where(where, sizeof where, l->prog, in);
    int n = in->src->text_len > 80 ? 80 : in->src->text_len, k = 0;
    for (int i = 0; i < n; i++) /* the statement on one line */
        text[k++] = in->src->text[i] == '\n' || in->src->text[i] == '\t' ? ' ' : in->src->text[i];
    text[k] = 0;
    pthread_mutex_lock(&l->lock);
    if (!l->failed) {
        l->failed = 1;
        l->error = err;
        snprintf(l->msg, sizeof l->msg,
                 "%s, CTA (%u,%u,%u), warp %u, lane %d, address 0x%llx: %s: '%s'", where,
                 w->cta->idx[0], w->cta->idx[1], w->cta->idx[2], w->id, lane,
                 (unsigned long long)addr, what, text);
        memcpy(sim_last_msg, l->msg, sizeof sim_last_msg);
        sim_complain("%s", l->msg);
    }
    pthread_mutex_unlock(&l->lock);
    longjmp(r->fail, 1);
}

/* ---- JSON ---- */

typedef struct out {
    char *s;
    size_t n, cap;
} out;

static void put(out *o, const char *fmt, ...) {
    for (;;) {
        va_list ap;
        va_start(ap, fmt);
        int k = vsnprintf(o->s + o->n, o->cap - o->n, fmt, ap);
        va_end(ap);
        if (k >= 0 && o->n + (size_t)k < o->cap) {
            o->n += (size_t)k;
            return;
        }
        o->cap = o->cap * 2 + 4096;
        o->s = realloc(o->s, o->cap);
        if (!o->s)
            abort();
    }
}

static void put_string(out *o, const char *s) {
    put(o, "\"");
    for (; *s; s++)
        if (*s == '"' || *s == '\\')
            put(o, "\\%c", *s);
        else if ((unsigned char)*s < 32)
            put(o, " ");
        else
            put(o, "%c", *s);
    put(o, "\"");
}

typedef struct totals {
    uint64_t n[CL_COUNT], lanes[CL_COUNT], all, all_lanes;
    sim_memstat mem;
} totals;

static void add_mem(sim_memstat *d, const sim_memstat *s) {
    d->greq += s->greq, d->sectors += s->sectors, d->sectors_ideal += s->sectors_ideal;
    d->gbytes += s->gbytes, d->sreq += s->sreq, d->waves += s->waves;
    d->waves_ideal += s->waves_ideal, d->sbytes += s->sbytes;
}

static void sum(const sim_launch *l, totals *t) {
    memset(t, 0, sizeof *t);
    for (int i = 0; i < l->prog->ncode; i++) {
        const sim_insn *in = &l->prog->code[i];
        t->n[in->cls] += l->stat[i].n;
        t->lanes[in->cls] += l->stat[i].lanes;
        t->all += l->stat[i].n;
        t->all_lanes += l->stat[i].lanes;
        add_mem(&t->mem, &l->mem[i]);
    }
}

char *sim_report_json(const sim_launch *l) {
    out o = {malloc(4096), 0, 4096};
    totals t;
    if (!o.s)
        abort();
    sum(l, &t);
    put(&o, "{\"kernel\": ");
    put_string(&o, l->prog->name);
    put(&o, ", \"grid\": [%u, %u, %u], \"block\": [%u, %u, %u]", l->grid[0], l->grid[1], l->grid[2],
        l->block[0], l->block[1], l->block[2]);
    put(&o, ", \"dynamic_shared\": %u, \"static_shared\": %u, \"registers_estimated\": %d",
        l->dyn_shared, l->prog->static_shared, l->prog->nregs);
    put(&o, ", \"ctas_per_sm\": %d, \"resident\": %d, \"strict\": %s", l->occupancy, l->resident,
        l->strict ? "true" : "false");
    put(&o, ",\n \"warp_instructions\": %llu, \"active_lanes\": %llu, \"classes\": {",
        (unsigned long long)t.all, (unsigned long long)t.all_lanes);
    bool first = true;
    for (int c = 0; c < CL_COUNT; c++)
        if (t.n[c]) {
            put(&o, "%s\"%s\": %llu", first ? "" : ", ", sim_class_name[c],
                (unsigned long long)t.n[c]);
            first = false;
        }
    put(&o,
        "},\n \"global\": {\"requests\": %llu, \"sectors\": %llu, \"sectors_ideal\": %llu, "
        "\"bytes\": %llu}",
        (unsigned long long)t.mem.greq, (unsigned long long)t.mem.sectors,
        (unsigned long long)t.mem.sectors_ideal, (unsigned long long)t.mem.gbytes);
    put(&o,
        ", \"shared\": {\"requests\": %llu, \"wavefronts\": %llu, \"wavefronts_ideal\": %llu, "
        "\"bytes\": %llu}",
        (unsigned long long)t.mem.sreq, (unsigned long long)t.mem.waves,
        (unsigned long long)t.mem.waves_ideal, (unsigned long long)t.mem.sbytes);
    put(&o,
        ",\n \"mma\": %llu, \"barriers\": %llu, \"atomics\": %llu, \"error\": %d, \"finding\": ",
        (unsigned long long)t.n[CL_MMA], (unsigned long long)t.n[CL_BARRIER],
        (unsigned long long)t.n[CL_ATOM], l->error);
    put_string(&o, l->msg);
    put(&o, "}");
    return o.s;
}

/* The file is a JSON array at every moment: the closing bracket is overwritten by the next launch.
 */
static void append(const char *json) {
    static bool begun;
    char path[600];
    const char *p = strstr(sim_opt.report, "%p");
    if (p)
        snprintf(path, sizeof path, "%.*s%ld%s", (int)(p - sim_opt.report), sim_opt.report,
                 (long)getpid(), p + 2);
    else
        snprintf(path, sizeof path, "%s", sim_opt.report);
    FILE *f = fopen(path, begun ? "r+" : "w");
    if (!f) {
        sim_complain("cannot write the report %s", path);
        return;
    }
    if (begun) {
        fseek(f, -3, SEEK_END);
        fputs(",\n", f);
    } else {
        fputs("[\n", f);
    }
    fputs(json, f);
    fputs("\n]\n", f);
    fclose(f);
    begun = true;
}

static char *last_json;

const char *sim_last_json(void);
const char *sim_last_json(void) {
    return last_json ? last_json : "";
}

void sim_report_launch(const sim_launch *l) {
    free(last_json);
    last_json = sim_report_json(l);
    if (*sim_opt.report)
        append(last_json);
}
