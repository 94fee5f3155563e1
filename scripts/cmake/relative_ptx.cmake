# nvcc writes absolute source paths into PTX; ours are relative to the tree.
file(READ ${IN} text)
string(REPLACE "${ROOT}/./" "" text "${text}")
string(REPLACE "${ROOT}/" "" text "${text}")
file(WRITE ${OUT} "${text}")
file(REMOVE ${IN})
