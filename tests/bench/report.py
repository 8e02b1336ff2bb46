# SPDX-License-Identifier: GPL-2.0-or-later
"""The results as a table, as JSON and as a chart."""

import html
import json
import math
import os
import platform

BASE = "kernel"
COLOURS = {"raw": "#8f8f8f", "kernel": "#404040", "lamina": "#1f6fb4", "fuse-overlayfs": "#d98324"}
OTHER_COLOURS = ["#3a8a4d", "#8a4d9a", "#b03a48", "#5a7a8a"]


def rows(results):
    """(workload, phase) in the order of measuring, with {target: Result}."""
    table = {}
    for (phase, target), result in results:
        table.setdefault((title(result.workload), phase), {})[target] = result
    return table


def base_of(target, line):
    """A volatile mount is compared with the kernel's volatile mount."""
    return line.get(BASE + "-volatile" if target.endswith("-volatile") else BASE)


def value(result):
    """Seconds to compare by: CPU time where waiting for the disk would drown the rest."""
    return result.cpu() if result.workload.by_cpu else result.wall()


def ratio(target, line):
    base, own = base_of(target, line), line.get(target)
    if not base or not own or not base.samples or not own.samples or not value(base):
        return None
    return value(own) / value(base)


def aim_of(target, result):
    """The aim that applies, if the target is the one that has aims."""
    if target.split("-")[0] != "lamina":
        return None
    return result.workload.aims.get("volatile" if target.endswith("-volatile") else result.phase)


def amount(result):
    each = value(result) / result.workload.per
    return f"{each * 1e6:.2f} us" if result.workload.unit == "us" else f"{each * 1e3:.1f} ms"


def title(workload):
    return workload.name + (" (CPU)" if workload.by_cpu else "")


def cell(target, line):
    result = line.get(target)
    if result is None:
        return "-"
    if result.error or not result.samples:
        return "failed"
    spread = result.spread()
    around = f" ±{spread * 100:.0f}%" if spread is not None else ""
    if target == BASE or base_of(target, line) is result:
        return amount(result) + around
    r = ratio(target, line)
    if r is None:
        return amount(result) + around
    aim = aim_of(target, result)
    mark = "" if aim is None else (" ok" if r <= aim * 1.05 else f" >{aim:g}")
    return f"{r:.2f}{around}{mark}"


def print_table(results, names):
    table = rows(results)
    lines = [["workload", "phase", *names]]
    for (workload, phase), line in table.items():
        lines.append([workload, phase, *(cell(n, line) for n in names)])
    print_columns(lines)
    print(f"\n{BASE}: the median time; the others: ratio to {BASE} (volatile mounts to "
          f"{BASE}-volatile);\n± half the distance of the quartiles; 'ok' an aim reached, "
          "'>N' missed.\n")

    lines = [["CPU, client + server", "phase", *names]]
    for (workload, phase), line in table.items():
        lines.append([workload, phase, *(cpu_cell(line.get(n)) for n in names)])
    print_columns(lines)

    memory = [(n, r.peak_memory()) for line in table.values() for n, r in line.items()
              if r.memory and r.phase == "warm"]
    for name, size in dict(memory).items():
        print(f"memory of the server of {name} after find + stat: {size / 1e6:.1f} MB")
    for text in layers_cost(table, names):
        print(text)


def cpu_cell(result):
    if result is None or result.error or not result.samples:
        return "-"
    server = f" ({result.server() * 1e3:.0f})" if result.server() else ""
    return f"{result.cpu() * 1e3:.0f} ms{server}"


def layers_cost(table, names):
    for kind in ("find", "find + stat"):
        few, many = table.get((kind, "first")), table.get((kind + ", 20 layers", "first"))
        if not few or not many:
            continue
        for name in names:
            if name in few and name in many and few[name].wall() and many[name].wall():
                cost = many[name].wall() / few[name].wall()
                yield f"20 layers against 3, {kind}, first: {name} {cost:.2f}"


def print_columns(lines):
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for n, line in enumerate(lines):
        print("  ".join(text.ljust(w) if i < 2 else text.rjust(w)
                        for i, (text, w) in enumerate(zip(line, widths))).rstrip())
        if n == 0:
            print("  ".join("-" * w for w in widths))


def machine():
    model = ""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
        for line in f:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"kernel": platform.release(), "cpu": model, "cpus": os.cpu_count(),
            "load": os.getloadavg()[0]}


def write_json(path, results, settings):
    out = {"machine": machine(), "settings": settings, "results": []}
    for (phase, target), r in results:
        out["results"].append({
            "workload": r.workload.name, "phase": phase, "target": target, "error": r.error,
            "operations": r.workload.per, "memory_bytes": r.peak_memory(),
            "median_s": r.wall(), "cpu_s": r.cpu(), "server_cpu_s": r.server(),
            "spread": r.spread(),
            "samples": [{"wall_s": s.wall, "client_cpu_s": s.client, "server_cpu_s": s.server}
                        for s in r.samples],
        })
    with open(path, "w", encoding="utf-8") as f:
        json.dump(out, f, indent=1)
        f.write("\n")


def write_svg(path, results, names):
    """Bars of the ratio to the kernel on a logarithmic scale; left of the line is faster."""
    table = [(k, line) for k, line in rows(results).items() if BASE in line and line[BASE].wall()]
    shown = [n for n in names if n != BASE]
    left, width, bar, gap, top = 250, 620, 11, 12, 64
    values = [r for _, line in table for n in shown if (r := ratio(n, line))]
    if not values:
        raise ValueError("nothing to draw: the kernel's overlayfs was not measured")
    low = min(0.5, 2.0 ** math.floor(math.log2(min(values))))
    high = max(2.0, 2.0 ** math.ceil(math.log2(max(values))))

    def x(value):
        return left + width * math.log(value / low) / math.log(high / low)

    body, y = [], top
    for (workload, phase), line in table:
        drawn = [(n, r) for n in shown if (r := ratio(n, line))]
        middle = y + len(drawn) * bar / 2 + 4
        body.append(text(left - 8, middle, f"{workload}, {phase}", "end"))
        for name, r in drawn:
            a, b = sorted((x(1), x(r)))
            body.append(f'<rect x="{a:.1f}" y="{y}" width="{max(b - a, 1):.1f}" height="{bar - 1}" '
                        f'fill="{colour(name, shown)}"/>')
            body.append(text(x(r) + 3 if r >= 1 else x(r) - 3, y + bar - 2, f"{r:.2f}",
                             "start" if r >= 1 else "end", 9))
            y += bar
        y += gap
    grid = []
    tick = low
    while tick <= high * 1.001:
        strong = ' stroke-width="1.5"' if tick == 1 else ' stroke-opacity="0.25"'
        grid.append(f'<line x1="{x(tick):.1f}" y1="{top - 8}" x2="{x(tick):.1f}" y2="{y}" '
                    f'stroke="#404040"{strong}/>')
        grid.append(text(x(tick), top - 12, f"{tick:g}", "middle", 10))
        tick *= 2
    legend = [text(8, 18, "time as a ratio to the kernel's overlayfs (logarithmic; less is faster)",
                   "start", 13)]
    at = left
    for name in shown:
        legend.append(f'<rect x="{at}" y="26" width="10" height="10" '
                      f'fill="{colour(name, shown)}"/>')
        legend.append(text(at + 14, 35, name, "start"))
        at += 30 + 7 * len(name)
    with open(path, "w", encoding="utf-8") as f:
        f.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 60}" '
                f'height="{y + 10}" font-family="sans-serif">\n'
                '<rect width="100%" height="100%" fill="#ffffff"/>\n')
        f.write("\n".join(legend + grid + body) + "\n</svg>\n")


def colour(name, shown):
    if name in COLOURS:
        return COLOURS[name]
    return OTHER_COLOURS[shown.index(name) % len(OTHER_COLOURS)]


def text(x, y, content, anchor, size=11):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" ' \
           f'fill="#202020">{html.escape(content)}</text>'
