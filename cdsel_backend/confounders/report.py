"""What detection found, in numbers and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from cdsel_backend.confounders.verdict import Verdict
from cdsel_backend.pool.columns import FILE_PREFIX


@dataclass(frozen=True)
class Finding:
    """One variable.

    `encoded`: macro one-vs-rest AUROC of a linear probe over all images (.5 = not at all); `given_label`: its AUROC
    among images of one label, pooled over labels; `associated`: bias-corrected Cramér's V with the label, or with the
    clusters of the images before there are labels; `dependence`: the share of the model's score that the variable
    explains among images of one label; `utility` and `detectability`: I(A; Y) and I(A; A^ | Y) in bits, for the
    variable A, the label Y and the level A^ that the probe reads. The p-values are Benjamini-Hochberg
    adjusted over the variables; the intervals (low, high) hold 95 % and count images of one group that say the same
    once. None where not measured. Where images may show any of several classes, all this is about whether they show
    one of them: `associated_class`, the one associated with the variable most closely.
    """

    variable: str
    verdict: Verdict
    sentence: str
    levels: int
    encoded: float | None = None
    encoded_p: float | None = None
    encoded_interval: tuple[float, float] | None = None
    given_label: float | None = None
    given_label_p: float | None = None
    given_label_interval: tuple[float, float] | None = None
    associated: float | None = None
    associated_p: float | None = None
    associated_interval: tuple[float, float] | None = None
    associated_with: Literal["label", "clusters"] = "clusters"
    associated_class: str | None = None
    dependence: float | None = None
    dependence_p: float | None = None
    utility: float | None = None
    detectability: float | None = None
    figures: str = ""
    """What stands in brackets at the end of `sentence`."""
    note: str = ""
    """A sentence on the values of the variable, such as how many are no numbers; empty where there is none."""

    @property
    def from_file(self) -> bool:
        """Whether the variable is none of the tasks' data, but what the image's file says of itself."""
        return self.variable.startswith(FILE_PREFIX)

    @property
    def statement(self) -> str:
        """The sentence without its figures."""
        return self.sentence.replace(f" ({self.figures})", "") if self.figures else self.sentence

    @property
    def acts(self) -> bool:
        """Whether rounds and training take the variable into account.

        What a file says of itself acts only once it confounds, or a setting says so: brightness may be the disease.
        """
        sure = self.verdict in (Verdict.CONFOUNDER, Verdict.FORCED_IN)
        return sure or (self.verdict.acts and not self.from_file)


@dataclass(frozen=True)
class LatentGroup:
    """A cluster of images that no variable explains: `size` of them; `explained` is the best Cramér's V."""

    size: int
    share: float
    explained: float
    sentence: str


@dataclass(frozen=True)
class Report:
    """All variables, the strongest first, and groups of images that none of them explains.

    `lead` says of the strongest that acts who has which label, and how well the images show it; empty where none acts.
    """

    findings: tuple[Finding, ...] = ()
    latent: tuple[LatentGroup, ...] = ()
    lead: str = ""

    @property
    def confounders(self) -> tuple[str, ...]:
        """The variables to act on, the strongest first."""
        return tuple(finding.variable for finding in self.findings if finding.acts)

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "confounders": list(self.confounders),
            "findings": [asdict(entry) for entry in self.findings],
            "latent": [asdict(entry) for entry in self.latent],
            "lead": self.lead,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> Report:
        """Rebuild a report; an empty one from nothing. What a newer version added is passed over."""
        data = data or {}
        return cls(
            tuple(
                Finding(**_known(Finding, entry) | {"verdict": Verdict(entry["verdict"])})
                for entry in data.get("findings", ())
            ),
            tuple(LatentGroup(**_known(LatentGroup, entry)) for entry in data.get("latent", ())),
            str(data.get("lead") or ""),
        )


@dataclass(frozen=True)
class VerdictChange:
    """A variable that is judged otherwise than before; `sentence` gives the reason."""

    variable: str
    before: Verdict
    after: Verdict
    sentence: str


def verdict_changes(before: Report, after: Report) -> tuple[VerdictChange, ...]:
    """Return the variables of both reports whose verdict differs, in the order of the newer one."""
    known = {finding.variable: finding.verdict for finding in before.findings}
    return tuple(
        VerdictChange(finding.variable, known[finding.variable], finding.verdict, finding.sentence)
        for finding in after.findings
        if finding.variable in known and known[finding.variable] is not finding.verdict
    )


def _known(kind: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {
        name: tuple(value) if isinstance(value, list) else value  # JSON knows no tuples
        for name, value in values.items()
        if name in names
    }
