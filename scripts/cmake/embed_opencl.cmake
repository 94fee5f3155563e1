# Writes OUT, a C file that holds the texts of FILES (separated by |) as nb__cl_sources. Run by the build.
string(REPLACE "|" ";" FILES "${FILES}")
set(bodies "")
set(table "")
set(count 0)
foreach(file ${FILES})
  get_filename_component(name ${file} NAME_WE)
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "(................................................................)" "\\1\n" hex "${hex}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," hex "${hex}")
  string(APPEND bodies "static const char text_${name}[] = {\n${hex}0};\n")
  string(APPEND table "    {\"${name}\", text_${name}},\n")
  math(EXPR count "${count} + 1")
endforeach()
file(WRITE ${OUT} "/* Made by scripts/cmake/embed_opencl.cmake. */
#include \"host/backend/opencl.h\"
${bodies}
const nb__cl_source nb__cl_sources[] = {
${table}};
const size_t nb__cl_source_count = ${count};
")
