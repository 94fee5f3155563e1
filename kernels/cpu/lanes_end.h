/* Ends what lanes.h began. */
#undef FN
#undef TARGET
#undef V
#undef VL
#undef NV
#undef LOAD
#undef STORE
#undef SET1
#undef ROUND
#undef MIN
#undef MAX
#undef STORE_CODES
#undef LANES_ISA
