#include "tests/model/run.c"
