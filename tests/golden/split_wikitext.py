#!/usr/bin/env python3
"""Cut wikitext-2 valid in two at the article boundary nearest to its middle byte.

    split_wikitext.py wikitext2-valid.txt CALIB_OUT EVAL_OUT

An article starts at a line ` = Title = `. First half: calibration; second half: evaluation.
"""
import re
import sys

src, calib, evaluation = sys.argv[1:4]
data = open(src, "rb").read()
starts = [m.start() for m in re.finditer(rb"^ ?= [^=\n]+ = ?$", data, re.M)]
cut = min(starts, key=lambda s: abs(s - len(data) // 2))
# The blank line ` \n` before a title stays with the article it ends.
open(calib, "wb").write(data[:cut])
open(evaluation, "wb").write(data[cut:])
print(f"{len(starts)} articles; cut at byte {cut} of {len(data)}: {data[cut:cut + 60]!r}")
