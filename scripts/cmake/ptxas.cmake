# ptxas, with what -v says (registers, spills, shared memory of each kernel) kept beside the cubin.
execute_process(COMMAND ${PTXAS} -O3 -v -arch=sm_${ARCH} -o ${OUT} ${IN} RESULT_VARIABLE code OUTPUT_VARIABLE said
  ERROR_VARIABLE said)
file(WRITE ${OUT}.log "${said}")
if(NOT code EQUAL 0)
  message(FATAL_ERROR "${said}")
endif()
