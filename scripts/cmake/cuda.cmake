# Device code of kernels/cuda: one PTX for each of compute_75, 80, 90, and from those same three files the cubins of the
# architectures below; all of them embedded in the library by an assembler file, and listed by a C file. Sets
# NB_CUDA_SOURCES (generated files of the library) and NB_CUDA_DIR (where PTX and cubins lie). Without nvcc the list is empty,
# and `nibble devices` says so.
#
# All of kernels/cuda/*.cu is one translation unit: nvcc reads each file before kernels/cuda/module.cu. Nothing is fused but
# what says fmaf (-fmad=false), so that operations that promise bits keep them.
option(NB_CUDA "build the CUDA kernels where nvcc is found" ON)
set(NB_NVCC "${CUDA_SIM_NVCC}" CACHE FILEPATH "nvcc 13 (default: the one found; scripts/get-nvcc.sh makes one)")
set(NB_CUDA_DIR ${CMAKE_BINARY_DIR}/cuda)
set(NB_CUDA_PTX 75 80 90 CACHE STRING "PTX to embed; one of them builds in a third of the time")
option(NB_CUDA_LINES "source lines in the device code, for profilers and the simulator's findings (three times the size)" OFF)
option(NB_CUDA_CUBINS "embed cubins beside the PTX" ON)
set(NB_CUDA_CUBINS_75 75)
set(NB_CUDA_CUBINS_80 80 86 89)
set(NB_CUDA_CUBINS_90 90 100 120)
file(MAKE_DIRECTORY ${NB_CUDA_DIR})

if(NB_CUDA AND NOT NB_NVCC)
  find_program(NB_NVCC_FOUND nvcc HINTS ${CMAKE_BINARY_DIR}/nvcc/bin PATHS /usr/local/cuda/bin)
  if(NB_NVCC_FOUND)
    set(NB_NVCC ${NB_NVCC_FOUND} CACHE FILEPATH "" FORCE)
  endif()
endif()

set(asm "")
set(rows "")
set(images "")
function(nb_cuda_image kind arch file)
  set(name nb__cuda_${kind}_${arch})
  # PTX is text: the driver wants a zero after it.
  set(asm "${asm}.global ${name}\n.hidden ${name}\n.balign 16\n${name}:\n.incbin \"${file}\"\n${name}_end:\n.byte 0\n.global ${name}_end\n.hidden ${name}_end\n" PARENT_SCOPE)
  set(decls "${decls}extern const unsigned char ${name}[], ${name}_end[];\n" PARENT_SCOPE)
  string(COMPARE EQUAL ${kind} ptx is_ptx)
  set(rows "${rows}    {${arch}, ${is_ptx}, ${name}, ${name}_end},\n" PARENT_SCOPE)
  set(images ${images} ${file} PARENT_SCOPE)
endfunction()

if(NB_CUDA AND NB_NVCC)
  enable_language(ASM)
  file(REAL_PATH ${NB_NVCC} nvcc_real)
  cmake_path(GET nvcc_real PARENT_PATH nvcc_bin)
  find_program(NB_PTXAS ptxas HINTS ${nvcc_bin} NO_CACHE REQUIRED)
  file(GLOB cuda_sources CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR} kernels/cuda/*.cu)
  list(REMOVE_ITEM cuda_sources kernels/cuda/module.cu)
  file(GLOB cuda_headers CONFIGURE_DEPENDS kernels/cuda/*.cuh kernels/cuda/*.h kernels/layout.h)
  set(includes "")
  set(deps ${CMAKE_SOURCE_DIR}/kernels/cuda/module.cu ${cuda_headers})
  foreach(s ${cuda_sources})
    list(APPEND includes -include ${s})
    list(APPEND deps ${CMAKE_SOURCE_DIR}/${s})
  endforeach()
  foreach(a ${NB_CUDA_PTX})
    set(ptx ${NB_CUDA_DIR}/nibble.${a}.ptx)
    add_custom_command(OUTPUT ${ptx}
      COMMAND ${NB_NVCC} -ptx $<$<BOOL:${NB_CUDA_LINES}>:-lineinfo> -O3 -std=c++17 -fmad=false -arch=compute_${a} -I. ${includes} -o ${ptx}.raw
              kernels/cuda/module.cu
      COMMAND ${CMAKE_COMMAND} -DIN=${ptx}.raw -DOUT=${ptx} -DROOT=${CMAKE_SOURCE_DIR} -P
              ${CMAKE_SOURCE_DIR}/scripts/cmake/relative_ptx.cmake
      DEPENDS ${deps} ${CMAKE_SOURCE_DIR}/scripts/cmake/relative_ptx.cmake WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
      COMMENT "PTX compute_${a}" VERBATIM COMMAND_EXPAND_LISTS)
    nb_cuda_image(ptx ${a} ${ptx})
    foreach(c ${NB_CUDA_CUBINS_${a}})
      if(NOT NB_CUDA_CUBINS)
        continue()
      endif()
      set(cubin ${NB_CUDA_DIR}/nibble.${c}.cubin)
      add_custom_command(OUTPUT ${cubin}
        COMMAND ${CMAKE_COMMAND} -DPTXAS=${NB_PTXAS} -DARCH=${c} -DIN=${ptx} -DOUT=${cubin} -P
                ${CMAKE_SOURCE_DIR}/scripts/cmake/ptxas.cmake
        DEPENDS ${ptx} COMMENT "cubin sm_${c}" VERBATIM)
      nb_cuda_image(cubin ${c} ${cubin})
    endforeach()
  endforeach()
  add_custom_target(nb_cuda_images DEPENDS ${images})
  file(CONFIGURE OUTPUT ${NB_CUDA_DIR}/cuda_images.S CONTENT ".section .rodata\n@asm@.section .note.GNU-stack,\"\",%progbits\n" @ONLY)
  set_source_files_properties(${NB_CUDA_DIR}/cuda_images.S PROPERTIES OBJECT_DEPENDS "${images}" LANGUAGE ASM)
  set(NB_CUDA_SOURCES ${NB_CUDA_DIR}/cuda_images.S)
  set(NB_CUDA_BUILT ON)
else()
  message(STATUS "no nvcc (scripts/get-nvcc.sh DIR makes one): this build has no CUDA kernels")
  set(NB_CUDA_SOURCES "")
endif()
file(CONFIGURE OUTPUT ${NB_CUDA_DIR}/cuda_images.c CONTENT "/* Made by scripts/cmake/cuda.cmake: what of kernels/cuda is embedded. */
#include \"host/backend/cuda.h\"

@decls@
const nb__cuda_image nb__cuda_images[] = {
@rows@    {0, 0, 0, 0},
};
" @ONLY)
list(APPEND NB_CUDA_SOURCES ${NB_CUDA_DIR}/cuda_images.c)
