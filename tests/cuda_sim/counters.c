/* Sectors of global requests and wavefronts of shared ones. */
#include "exec.h"

void sim_count_global(sim_warp *w, const sim_insn *in, uint32_t m, const uint64_t *addr,
                      unsigned size) {
    sim_memstat *s = &w->run->mem[in - w->run->l->prog->code];
    uint64_t seen[SIM_LANES];
    unsigned n = 0, lanes = (unsigned)__builtin_popcount(m);
    uint64_t max = 0;
    EACH_LANE(m, l) {
        uint64_t sec = addr[l] >> 5;
        if (n && sec == seen[n - 1])
            continue;
        if (!n || sec > max) {
            max = sec;
            seen[n++] = sec;
            continue;
        }
        unsigned k = 0;
        while (k < n && seen[k] != sec)
            k++;
        if (k == n)
            seen[n++] = sec;
    }
    unsigned ideal = (lanes * size + 31) / 32;
    s->greq++;
    s->sectors += n;
    s->sectors_ideal += ideal < n ? ideal : n;
    s->gbytes += (uint64_t)lanes * size;
}

/* Wavefronts of one phase: the largest number of distinct words in one bank. */
static unsigned phase(const uint32_t *word, unsigned n) {
    uint32_t have = 0, first[32];
    unsigned i = 0;
    for (; i < n; i++) {
        uint32_t b = word[i] & 31u;
        if (!(have >> b & 1u)) {
            have |= 1u << b;
            first[b] = word[i];
        } else if (first[b] != word[i]) {
            break;
        }
    }
    if (i == n)
        return n ? 1 : 0;
    unsigned worst = 1;
    for (uint32_t b = 0; b < 32; b++) {
        uint32_t d[128];
        unsigned k = 0;
        for (i = 0; i < n; i++) {
            if ((word[i] & 31u) != b)
                continue;
            unsigned j = 0;
            while (j < k && d[j] != word[i])
                j++;
            if (j == k)
                d[k++] = word[i];
        }
        worst = k > worst ? k : worst;
    }
    return worst;
}

void sim_count_shared(sim_warp *w, const sim_insn *in, uint32_t m, const uint32_t *off,
                      unsigned size) {
    sim_memstat *s = &w->run->mem[in - w->run->l->prog->code];
    const unsigned step = size <= 4 ? 32 : size == 8 ? 16 : 8, words = size <= 4 ? 1 : size / 4;
    for (unsigned base = 0; base < 32; base += step) {
        uint32_t word[128];
        unsigned n = 0;
        for (unsigned l = base; l < base + step; l++)
            if (m >> l & 1u)
                for (unsigned k = 0; k < words; k++)
                    word[n++] = (off[l] >> 2) + k;
        if (n) {
            s->waves += phase(word, n);
            s->waves_ideal++;
        }
    }
    s->sreq++;
    s->sbytes += (uint64_t)__builtin_popcount(m) * size;
}

void sim_count_rows(sim_warp *w, const sim_insn *in, const uint32_t *off, int rows) {
    sim_memstat *s = &w->run->mem[in - w->run->l->prog->code];
    for (int base = 0; base < rows; base += 8) {
        uint32_t word[32];
        unsigned n = 0;
        for (int l = base; l < base + 8; l++)
            for (unsigned k = 0; k < 4; k++)
                word[n++] = (off[l] >> 2) + k;
        s->waves += phase(word, n);
        s->waves_ideal++;
    }
    s->sreq++;
    s->sbytes += (uint64_t)rows * 16;
}
