/* The bytes of RTN checkpoints. Transformers + GPTQModel + Optimum loaded files with these very hashes, and their logits
 * agreed with ours (docs/readers.md): while the hashes hold, so does that. */
#include <criterion/criterion.h>
#include <string.h>

#include "process.h"

static const struct {
    const char *model, *args, *sha256; /* of model.safetensors */
} cases[] = {
    {"llama-tied-f16", "--method rtn",
     "e3b465060984f104d989b1a2fc27fc4bcea79039a78f8ee77d36f78d68bb1d75"},
    {"llama-tied-f16", "--method rtn --asym",
     "1f877db5a608ba9bd5fb704d23777a82d2944966e3bf8cff6cab68625676d38e"},
    {"llama-tied-f16", "--method rtn --asym --checkpoint-format gptq",
     "f139c1e981e49dd3b30db44da820f934ea7a4efbca4d55d9a118b196e621dd5c"},
    {"llama-untied-bf16", "--method rtn",
     "f0f7558d9072cac17e48709c818efba81070c774e24a24e1abdd3572a086b713"},
    {"llama-untied-bf16", "--method rtn --asym",
     "7da3932c1e13273623982646af52da2567f2e8aa684f1bd0d070384402c4c842"},
    {"llama-untied-bf16", "--method rtn --asym --checkpoint-format gptq",
     "df67cea2314695b289934bb2095824d2dcc0d8b7dba92f6b9da46463f18c5c06"},
    {"llama-tied-f16", "--method rtn --bits 2 --group-size 32",
     "2f2a0e217bc57d2703e3ba738032be82a9f2d2708132042f6d64ac31c8089667"},
    {"llama-tied-f16", "--method rtn --bits 2 --group-size 32 --asym",
     "28fe31d07196e4547933851884dedfdad7fc8b26c50500c64fe42a7f842871e4"},
    {"llama-tied-f16", "--method rtn --bits 3 --group-size 32",
     "c360adad9807ccdb20bfbcd14e6053e38829db80464fcaf589154936456e781f"},
    {"llama-tied-f16", "--method rtn --bits 3 --group-size 32 --asym",
     "0a5ca308926c1aaf0d1b0946be6f61a3aaa7c958f4dc9705e1929880a4df9c36"},
    {"llama-tied-f16", "--method rtn --bits 8 --group-size 32",
     "bb3503225ff05d5dc54ae14f15542a396f7c722575fe145510aaae4de87fbb47"},
    {"llama-tied-f16", "--method rtn --bits 8 --group-size 32 --asym",
     "6563d848c16d521de3a6e210a9e6a7d2595d126db7e1eaef81271a86cf67d483"},
    {"llama-tied-f16", "--method rtn --group-size -1",
     "a105cbb22e8149280e4993892136c0a1efb002a8fb08c85ca405d1c7e3e61354"},
    {"llama-tied-f16", "--method rtn --group-size -1 --asym --bits 8",
     "55320326d37756ace019b49c14893810c9b2e9717f19da94f3389cf38589fd20"},
    {"llama-tied-f16", "--method rtn --override '*.layers.1.mlp.*:skip'",
     "7a724f38c193f0c3f571ce9787cccfa12e6303fadb0ec5063f9af13003785980"},
    {"llama-untied-bf16", "--method rtn --override '*.q_proj:skip'",
     "6677e83a583d22bbde90ed50d32d106475a49fbbf4a8bd4d2521607949bcf14e"},
    {"llama-tied-f16", "--method rtn --asym --format awq",
     "74575ae557c800c4e261b14296cbd680839833643cbab631e94040f1c7232435"},
    {"llama-untied-bf16", "--method rtn --asym --format awq",
     "44801320fccd8331d43d5635ec33f48263ac05ebd4abd7ad259d2835600e8085"},
    {"llama-tied-f16", "--method rtn --format awq",
     "7bef405127891e26ad7d3259a381e44c1e9f255e2664bc777eb5ff0997c53c89"},
    {"llama-tied-f16", "--method rtn --asym --format awq --override '*.layers.1.mlp.*:skip'",
     "2365c3e820d0822cd5620176fe6bf29a332be05e6b05c16d82eae5c9662ec63d"},
};

TestSuite(golden_bytes, .init = make_dir, .fini = drop_dir);

static void check(const char *more) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_assert_eq(shell("$N quantize $M/%s -o out --force -q --scales minmax %s %s", cases[i].model, cases[i].args, more), 0, "%s", run_err);
        cr_assert_eq(shell("sha256sum <out/model.safetensors"), 0);
        cr_expect(!strncmp(run_out, cases[i].sha256, 64), "%s %s %s: %.64s, the readers loaded %s", cases[i].model, cases[i].args,
                  more, run_out, cases[i].sha256);
    }
}

Test(golden_bytes, are_those_that_the_readers_loaded) {
    check("");
}

/* Rounding to nearest is the same on every machine. */
Test(golden_bytes, do_not_depend_on_the_kernels) {
    check("-j 1 --kernel '*_avx512,*_avx2'");
}
