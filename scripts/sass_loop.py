#!/usr/bin/env python3
"""Instructions of a kernel's hot loop in SASS, along the path that the usual case takes.

    sass_loop.py CUBIN KERNEL MMA COPIES [NVDISASM]

The loop is the one that can run MMA tensor-core instructions and COPIES asynchronous copies in one turn, with a load of
scales of 8 bytes; of its ways from head to head with exactly these, the shortest is counted. nvdisasm comes with the
toolkit or from PyPI (nvidia-cuda-nvdisasm)."""
import collections
import heapq
import re
import subprocess
import sys


def blocks_of(cubin, kernel, tool):
    text = subprocess.run([tool, "-c", cubin], capture_output=True, text=True, check=True).stdout
    text = text[text.index(".text." + kernel + ":"):]
    text = text[: text.find(".section", 10)]
    blocks, label = {"": []}, ""
    order = [""]
    for line in text.split("\n"):
        m = re.match(r"\s*(\.L_x_\d+):", line)
        if m:
            label = m.group(1)
            order.append(label)
            blocks[label] = []
        m = re.search(r"/\*[0-9a-f]{4,}\*/\s+(.*?);", line)
        if m:
            blocks[label].append(m.group(1).strip())
            if re.search(r"\b(BRA|EXIT)\b", m.group(1)):
                label += "+"
                order.append(label)
                blocks[label] = []
    return blocks, order


def edges_of(blocks, order):
    edges = collections.defaultdict(list)
    for i, name in enumerate(order):
        last = blocks[name][-1] if blocks[name] else ""
        jump = re.search(r"BRA.*?(\.L_x_\d+)", last)
        if jump:
            edges[name].append(jump.group(1))
        ends = re.match(r"(BRA|EXIT)\b", last)
        if not ends and i + 1 < len(order):
            edges[name].append(order[i + 1])
    return edges


def count(ins):
    mma = sum("HMMA" in x for x in ins)
    copies = sum("LDGSTS" in x for x in ins)
    scales = any(re.search(r"LDG\.E\.64", x) for x in ins)
    return mma, copies, scales


def shortest(blocks, order, edges, head, mma, copies):
    start = (head, 0, 0, False)
    queue, seen = [(0, start, ())], set()
    while queue:
        cost, state, path = heapq.heappop(queue)
        if state in seen:
            continue
        seen.add(state)
        name, a, b, s = state
        if path and name == head:
            if a == mma and b == copies and s:
                return cost, path
            continue
        ins = blocks[name]
        da, db, ds = count(ins)
        if a + da > mma or b + db > copies:
            continue
        for to in edges[name]:
            heapq.heappush(queue, (cost + len(ins), (to, a + da, b + db, s or ds), path + (name,)))
    return None


def main():
    cubin, kernel, mma, copies = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    blocks, order = blocks_of(cubin, kernel, sys.argv[5] if len(sys.argv) > 5 else "nvdisasm")
    edges = edges_of(blocks, order)
    ways = [shortest(blocks, order, edges, head, mma, copies) for head in order]
    ways = [w for w in ways if w]
    if not ways:
        sys.exit(f"{kernel}: no loop with {mma} mma and {copies} copies")
    cost, path = min(ways)
    kinds = collections.Counter(re.sub(r"^@!?U?P\w+\s+", "", x).split()[0].split(".")[0] for b in path for x in blocks[b])
    print(f"{kernel}: {cost} instructions, {mma} mma, {(cost - mma) / mma:.3f} others for each;",
          " ".join(f"{k} {v}" for k, v in kinds.most_common()))


main()
