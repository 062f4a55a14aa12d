"""The table of a fuzzer: one line for each way of damaging."""

from collections import Counter


def damage_table(outcomes, kinds):
    """Markdown of how cases ended.

    Args:
        outcomes: (kind, result, faults, seconds) of each case.
        kinds: in the order of their lines; a last line counts all.
    """
    lines = [
        "| damage | cases | loaded | refused | faults | slowest, s |",
        "|---|---|---|---|---|---|",
    ]
    for kind in [*dict.fromkeys(kinds), "all"]:
        of_kind = [outcome for outcome in outcomes if kind in (outcome[0], "all")]
        results = Counter(result for _, result, _, _ in of_kind)
        faults = sum(bool(faults) for _, _, faults, _ in of_kind)
        slowest = max((seconds for *_, seconds in of_kind), default=0.0)
        counts = [len(of_kind), results["loaded"], results["refused"], faults, f"{slowest:.3f}"]
        lines.append(f"| {kind.replace('_', ' ')} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)
