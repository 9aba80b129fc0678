"""The result of a soak test, as JSON and as text."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Report:
    seed: int
    seconds: int
    jobs: Mapping[str, int]
    """How many jobs ended with each status, and how many were deleted"""
    faults: Mapping[str, Mapping[str, int]]
    """How often each fault struck, by family and name"""
    clients: Mapping[str, int]
    """What clients did and met"""
    ends: Mapping[str, Mapping[str, int]]
    """How often each program ended, by exit status"""
    memory: Mapping[str, Sequence[tuple[int, int]]]
    """Megabytes of the largest API, worker and trainer, minute by minute"""
    judged: Mapping[str, tuple[int, int]]
    """Megabytes in the middle and the last third of the longest life of each kind of process"""
    violations: Sequence[str]
    stories: Sequence[str] = field(default_factory=list)
    folder: str | None = None

    def as_json(self) -> dict[str, Any]:
        return vars(self)

    def as_text(self) -> str:
        lines = [f"Soak test with seed {self.seed}: {self.seconds} s", "", "Jobs"]
        lines += _counts(self.jobs)
        for family, by_name in self.faults.items():
            lines += ["", f"Faults: {family} ({sum(by_name.values())})", *_counts(by_name)]
        lines += ["", "Clients", *_counts(self.clients), "", "Ends of programs, by exit status"]
        lines += [f"  {name}: {dict(by_status)}" for name, by_status in self.ends.items()]
        lines += ["", "Memory, MB: middle and last third of the longest life"]
        lines += [f"  {kind}: {middle} -> {last}" for kind, (middle, last) in self.judged.items()]
        lines += ["", f"Violations: {len(self.violations)}"]
        for violation, story in zip(self.violations, self.stories, strict=True):
            lines += [f"  {violation}", *([story] if story else [])]
        if self.folder:
            lines += ["", f"Logs, database and store are kept in {self.folder}"]
        return "\n".join(lines)


def by_family(struck: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    families: dict[str, dict[str, int]] = {}
    for (family, name), count in sorted(struck.items()):
        families.setdefault(family, {})[name] = count
    return families


def _counts(counts: Mapping[str, int]) -> list[str]:
    return [f"{count:7,}  {name}" for name, count in counts.items()]
