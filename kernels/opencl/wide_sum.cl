/* Sums wider than f32: doubles, or where the row is built without them pairs of floats (hi + lo, about 48 bits: Dekker 1971;
 * Ogita, Rump, Oishi 2005). A pair's range is that of a float: squares past 2^127 overflow where a double's do not. */
#if NB_CL_FP64
typedef double wide;
#define WIDE_ZERO 0.0
inline wide wide_of(float x) { return (double)x; }
inline float wide_float(wide x) { return (float)x; }
inline wide wide_add(wide a, wide b) { return a + b; }
inline wide wide_sub(wide a, wide b) { return a - b; }
inline wide wide_mul(wide a, wide b) { return a * b; }
inline wide wide_div(wide a, wide b) { return a / b; }
inline wide wide_sqrt(wide a) { return sqrt(a); }
inline bool wide_positive(wide a) { return a > 0.0 && !isinf(a); }
inline bool wide_less(wide a, wide b) { return a < b; }
#else
typedef float2 wide; /* x: the nearest float, y: the rest */
#define WIDE_ZERO ((float2)(0.0f))
inline wide wide_of(float x) { return (float2)(x, 0.0f); }
inline float wide_float(wide x) { return x.x + x.y; }
inline wide quick_sum(float a, float b) { /* |a| >= |b| */
    float s = a + b;
    return (float2)(s, b - (s - a));
}
inline wide exact_sum(float a, float b) {
    float s = a + b, bb = s - a;
    return (float2)(s, (a - (s - bb)) + (b - bb));
}
inline wide exact_product(float a, float b) {
    float p = a * b;
    return (float2)(p, fma(a, b, -p));
}
inline wide wide_add(wide a, wide b) {
    wide s = exact_sum(a.x, b.x), t = exact_sum(a.y, b.y);
    s = quick_sum(s.x, s.y + t.x);
    return quick_sum(s.x, s.y + t.y);
}
inline wide wide_sub(wide a, wide b) { return wide_add(a, -b); }
inline wide wide_mul(wide a, wide b) {
    wide p = exact_product(a.x, b.x);
    return quick_sum(p.x, p.y + (a.x * b.y + a.y * b.x));
}
inline wide wide_div(wide a, wide b) {
    float q1 = a.x / b.x;
    wide r = wide_sub(a, wide_mul(b, wide_of(q1)));
    float q2 = r.x / b.x;
    r = wide_sub(r, wide_mul(b, wide_of(q2)));
    return wide_add(quick_sum(q1, q2), wide_of(r.x / b.x));
}
inline wide wide_sqrt(wide a) {
    float root = sqrt(a.x);
    if (root == 0.0f)
        return wide_of(0.0f);
    wide r = wide_sub(a, exact_product(root, root));
    return quick_sum(root, r.x / (2.0f * root));
}
inline bool wide_positive(wide a) { return a.x > 0.0f && !isinf(a.x); }
inline bool wide_less(wide a, wide b) { return a.x < b.x || (a.x == b.x && a.y < b.y); }
#endif

/* Adds what the items of a work-group (a power of two of them) hold; all get the sum. `room` has a place for each. */
inline wide group_sum(local wide *room, wide sum) {
    uint item = get_local_id(0), items = get_local_size(0);
    if (items == 1)
        return sum;
    room[item] = sum;
    for (uint step = items / 2; step > 0; step /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < step)
            room[item] = wide_add(room[item], room[item + step]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    sum = room[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    return sum;
}

/* wide NAME = sum of TERM, an expression in j, over j < count; each item takes every items-th j, in four sums, so that an
 * addition need not wait for the last. */
#define ITEM_SUM(name, count, term)                                                                                    \
    wide name;                                                                                                         \
    {                                                                                                                  \
        wide sums_[4] = {WIDE_ZERO, WIDE_ZERO, WIDE_ZERO, WIDE_ZERO};                                                  \
        uint items_ = get_local_size(0), at_ = get_local_id(0);                                                        \
        for (; at_ + 3 * items_ < (count); at_ += 4 * items_)                                                          \
            for (uint s_ = 0; s_ < 4; s_++) {                                                                          \
                uint j = at_ + s_ * items_;                                                                            \
                sums_[s_] = wide_add(sums_[s_], term);                                                                 \
            }                                                                                                          \
        for (; at_ < (count); at_ += items_) {                                                                         \
            uint j = at_;                                                                                              \
            sums_[0] = wide_add(sums_[0], term);                                                                       \
        }                                                                                                              \
        name = wide_add(wide_add(sums_[0], sums_[1]), wide_add(sums_[2], sums_[3]));                                   \
    }
