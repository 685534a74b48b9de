"""From measures to a verdict: what is known of a variable, what is not known yet, and in which sentence to say so."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from cdsel_backend.confounders.association import ASSOCIATED, SIGNIFICANT, cross_table, share_explained
from cdsel_backend.confounders.report import Finding
from cdsel_backend.confounders.verdict import Verdict
from cdsel_backend.pool.columns import Column

ENCODED = 0.6  # AUROC from which a variable counts as encoded in the images
DUPLICATE = 0.5  # share that one of two variables explains of the other, above which both may say the same
_FOLLOWS = 0.9  # share of the images from which the levels of one variable follow from those of another
_ONE_SIDED = 1.645 / 1.96  # of an interval's reach: its upper end alone, at 95 %
MUCH_UNSEEN = 0.1  # share of the images of which labels say nothing, from which nothing can be excluded
NARROW = 0.1  # width of an interval of Cramér's V below which the estimate decides


@dataclass(frozen=True)
class Measured:
    """A finding without its verdict.

    `decides` says why the variable is a consequence of the label, `surely` whether enough labels say so; `unseen` is
    the share of the images that have no label, and a level of which hardly a label is known.
    """

    finding: Finding
    decides: str | None = None
    surely: bool = False
    unseen: float = 0.0


def judge(measured: Measured, forced_in: Collection[str], forced_out: Collection[str]) -> Finding:
    """Give a measured variable its verdict and its sentence."""
    finding = measured.finding
    if finding.variable in forced_out:
        verdict, why = Verdict.FORCED_OUT, "is left alone, as the settings ask"
    elif finding.variable in forced_in:
        verdict, why = Verdict.FORCED_IN, "is treated as a confounder, as the settings ask"
    elif finding.associated is None:
        verdict, why = Verdict.NEITHER, "cannot be judged on so few images"
    elif finding.associated_with == "clusters":
        verdict, why = _before_labels(finding)
    elif measured.decides:
        verdict, why = _consequence(measured)
    else:
        verdict, why = _with_labels(measured)
    figures = _figures(finding) if finding.associated is not None else ""
    sentence = f"{finding.variable} {why}{f' ({figures})' if figures else ''}."
    return replace(finding, verdict=verdict, sentence=sentence, figures=figures)


def _before_labels(finding: Finding) -> tuple[Verdict, str]:
    if not _encoded(finding):
        return Verdict.NEITHER, "is not encoded in the images; there are too few labels to say more"
    if _associated(finding):
        return Verdict.SUSPECTED, (
            "is suspected before there are labels enough to say more, because it is encoded in the images and "
            "associated with groups of images that look alike"
        )
    return (
        Verdict.NOT_KNOWN_YET,
        "is encoded in the images; there are too few labels to say whether it confounds",
    )


def _consequence(measured: Measured) -> tuple[Verdict, str]:
    why = f"is a consequence of the label, or decides it: {measured.decides}"
    if not _encoded(measured.finding):
        return Verdict.LEFT_OUT, why
    if measured.surely:
        return Verdict.LEFT_OUT, (
            f"{why}; if it is neither, a model can learn it instead of the label, so name it in the setting "
            "confounders and label images that break the rule"
        )
    return Verdict.NOT_KNOWN_YET, f"may confound, or be a consequence of the label: {measured.decides}"


def _with_labels(measured: Measured) -> tuple[Verdict, str]:
    """Two questions, each answered yes, no or not yet; a no to either excludes a confounder."""
    finding = measured.finding
    encoded, associated = encoded_given_label(finding), _associated(finding) or _not_yet(finding)
    if associated and encoded:
        return Verdict.CONFOUNDER, (
            "can mislead a model: it is encoded in the images, also among those of one label, and associated with the "
            "label"
        )
    if associated is False:
        if encoded or _encoded(finding):
            return Verdict.ENCODED_ONLY, "is encoded in the images, but not associated with the label"
        return Verdict.NEITHER, "is neither encoded in the images nor associated with the label"
    if encoded is False:
        if not associated:
            return (
                Verdict.NEITHER,
                "is not encoded in the images, whether it is associated with the label or not",
            )
        if _encoded(finding):
            return Verdict.ASSOCIATED_ONLY, (
                "is associated with the label and can be read from the images only because they show the label: "
                "among images of one label they do not tell it"
            )
        return Verdict.ASSOCIATED_ONLY, "is associated with the label, but not encoded in the images"
    if associated:
        return Verdict.NOT_KNOWN_YET, (
            "is associated with the label; whether the images tell it among those of one label is not known yet"
        )
    if encoded or _encoded(finding):
        unseen = f": {measured.unseen:.0%} of the images are of levels with hardly a label"
        return Verdict.NOT_KNOWN_YET, (
            "is encoded in the images; the labels are too few to exclude that it is associated with them"
            + (unseen if measured.unseen > MUCH_UNSEEN else "")
        )
    return Verdict.NEITHER, "is not encoded in the images as far as can be seen"


def _encoded(finding: Finding) -> bool:
    """Whether a probe reads the variable from the images, whatever they show besides."""
    return (finding.encoded or 0) >= ENCODED and (finding.encoded_p or 0) <= SIGNIFICANT


def encoded_given_label(finding: Finding) -> bool | None:
    """Whether a probe reads the variable among images of one label: also by its whole interval; None: not known yet.

    A no asks only that the AUROC lies below: for that the upper end alone, at 95 %, decides.
    """
    if finding.encoded_interval is None or finding.encoded_interval[1] < ENCODED:
        return False  # what cannot be read over all images is not read among those of one label
    if finding.given_label is None or finding.given_label_interval is None:
        return None
    low, high = finding.given_label_interval
    if finding.given_label >= ENCODED and (finding.given_label_p or 0) <= SIGNIFICANT and low > 0.5:
        return True
    most = finding.given_label + _ONE_SIDED * (high - finding.given_label)
    return False if most < ENCODED else None


def _associated(finding: Finding) -> bool:
    return (finding.associated or 0) >= ASSOCIATED and (finding.associated_p or 0) <= SIGNIFICANT


def _not_yet(finding: Finding) -> bool | None:
    """None while an association that matters cannot be excluded, else False.

    The interval must lie below; or be so narrow that more labels would not change what matters: then the estimate,
    which is below, decides.
    """
    low, high = finding.associated_interval or (0.0, 1.0)
    if high < ASSOCIATED or (high - low < NARROW and (finding.associated or 0) < ASSOCIATED):
        return False
    return None


def _figures(finding: Finding) -> str:
    parts = []
    if finding.encoded is not None:
        parts.append(f"AUROC {finding.encoded:.2f} over all images")
    if finding.given_label is not None:
        parts[-1:] = [f"{', '.join(parts[-1:])} and {finding.given_label:.2f} among images of one label"]
    with_ = "the label" if finding.associated_with == "label" else "clusters of the images"
    if finding.associated_class is not None:
        with_ = f"the presence of {finding.associated_class!r}"
    parts.append(f"Cramér's V with {with_} {finding.associated or 0:.2f}")
    if finding.associated_interval is not None and finding.verdict is not Verdict.FORCED_OUT:
        parts[-1] += " ({:.2f} to {:.2f})".format(*finding.associated_interval)
    if finding.dependence is not None and (finding.dependence_p or 0) <= SIGNIFICANT:
        parts.append(f"it explains {finding.dependence:.0%} of the model's score among images of one label")
    return "; ".join(parts)


def merge(findings: Sequence[Finding], columns: dict[str, Column]) -> list[Finding]:
    """Leave out of those that act what says the same as a stronger (or a forced) one.

    What divides the levels of the stronger one, as scanners do those of a hospital, says more than it, and stays.
    """
    kept = [finding for finding in findings if finding.verdict is Verdict.FORCED_IN]
    merged = []
    # A name from the metadata goes before a measure of the file.
    for finding in sorted(findings, key=lambda finding: finding.from_file):
        if finding.acts and finding.verdict is not Verdict.FORCED_IN:
            twin = next((k for k in kept if _same(finding, columns[k.variable], columns)), None)
            if twin:
                finding = replace(
                    finding,
                    verdict=Verdict.LEFT_OUT,
                    sentence=f"{finding.variable} is a duplicate of {twin.variable}: {finding.sentence}",
                )
            else:
                kept.append(finding)
        merged.append(finding)
    return merged


def _same(finding: Finding, kept: Column, columns: dict[str, Column]) -> bool:
    """Whether a variable says what one that is kept says, and no more."""
    table = cross_table(columns[finding.variable].codes, kept.codes)
    if max(share_explained(table), share_explained(table.T)) <= DUPLICATE:
        return False
    follows = table.max(axis=0).sum() / table.sum()  # the share of images whose level the kept one tells
    tells = table.max(axis=1).sum() / table.sum()
    return finding.from_file or bool(follows >= _FOLLOWS or tells < _FOLLOWS)
