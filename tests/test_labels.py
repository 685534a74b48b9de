"""Labeling configs and what annotators answer to them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from label_studio_sdk.label_interface.interface import LabelInterface

from cdsel_backend.labels import SINGLE
from cdsel_backend.labelstudio.controls import REGIONS
from cdsel_backend.labelstudio.fields import ImageField, UnresolvableField
from cdsel_backend.labelstudio.labels import (
    UnknownLabel,
    UnsupportedLabelConfig,
    label_space,
    parse_label_space,
)
from cdsel_backend.labelstudio.queue_config import queue_config

TEMPLATES = Path(__file__).parents[1] / "label_config"


def config(controls: str, image: str = '<Image name="image" value="$image"/>') -> str:
    return f"<View>{image}{controls}</View>"


CHOICE = (
    '<Choices name="label" toName="image" choice="single" cdsel_budget="200" cdsel_group="patient">'
    '<Choice value="benign"/><Choice value="malignant" alias="MAL"/></Choices>'
)
PLAIN = CHOICE.replace(' cdsel_budget="200" cdsel_group="patient"', "")
MULTIPLE = PLAIN.replace("single", "multiple")


def regions(tag: str) -> str:
    return f'<{tag} name="label" toName="image"><Label value="nodule"/><Label value="effusion" alias="EFF"/></{tag}>'


def test_a_plain_config():
    space = parse_label_space(config(CHOICE))
    assert (space.image.plain, space.control, space.to_name) == ("image", "label", "image")
    assert space.classes == ("benign", "MAL")
    assert space.settings == {"budget": "200", "group": "patient"}
    assert space.notes == ()
    assert space.kind is SINGLE


@pytest.mark.parametrize(
    ("name", "kind", "key", "classes"),
    [
        ("single_choice", "single", "choices", ("benign", "malignant")),
        ("multiple_choice", "presence", "choices", ("effusion", "nodule", "pneumothorax")),
        ("regions", "presence", "rectanglelabels", ("effusion", "nodule", "pneumothorax")),
    ],
)
def test_the_configs_we_ship(name, kind, key, classes):
    text = (TEMPLATES / f"{name}.xml").read_text(encoding="utf-8")
    space = parse_label_space(text)
    assert (space.kind.name, space.value_key, space.classes, space.notes) == (kind, key, classes, ())
    assert queue_config(text) == text
    headers = [tag.get("value") for tag in ElementTree.fromstring(text).iter("Header")]
    assert headers[:2] == ["$cdsel_place", "$cdsel_reason"]
    assert ["nothing" in line for line in headers[2:]] == [True] * space.empty_counts
    assert bool(space.hint) == space.empty_counts
    LabelInterface(text).validate()


def test_every_template_is_tested():
    assert {path.stem for path in TEMPLATES.glob("*")} == {"single_choice", "multiple_choice", "regions"}


def test_what_the_recorded_configs_hold():
    """Label Studio's own parse of its own recorded payload agrees with ours."""
    recorded = json.loads(
        (Path(__file__).parent / "payloads" / "webhook_ANNOTATION_CREATED.json").read_text()
    )["request"]["json"]
    space = parse_label_space(recorded["project"]["label_config"])
    (theirs,) = recorded["project"]["parsed_label_config"].values()
    assert list(space.classes) == theirs["labels"]
    assert space.image.plain == theirs["inputs"][0]["value"]
    assert space.label_of(recorded["annotation"]["result"]) == "cat"


@pytest.mark.parametrize(
    "text",
    [
        config("<View><Style>.a > .b {}</Style><View>" + CHOICE + "</View></View>"),
        config("<!-- a comment -->" + CHOICE),
        '<?xml version="1.0"?>\n' + config(CHOICE),
        "  \n" + config(CHOICE),
        config(CHOICE.replace('choice="single"', 'choice="single-radio"')),
        config(CHOICE.replace(' choice="single"', "")),
        config(CHOICE.replace("<Choice ", "<View><Choice ").replace("/>", "/></View>")),
    ],
)
def test_layouts_that_mean_the_same(text):
    assert parse_label_space(text).classes == ("benign", "MAL")
    assert parse_label_space(queue_config(text)) == parse_label_space(text)


def test_of_several_controls_the_first_single_choice_on_the_image_is_used():
    space = parse_label_space(
        config(
            '<RectangleLabels name="box" toName="image"><Label value="x"/></RectangleLabels>'
            '<Choices name="many" toName="image" choice="multiple"><Choice value="a"/><Choice value="b"/></Choices>'
            '<Choices name="note" toName="text"><Choice value="a"/><Choice value="b"/></Choices>'
            + PLAIN
            + PLAIN.replace('name="label"', 'name="later"'),
            '<Text name="text" value="$report"/><Image name="image" value="$scan"/>',
        )
    )
    assert (space.control, space.image.plain) == ("label", "scan")
    assert [note.split('"')[1] for note in space.notes] == ["box", "many", "note", "later"]
    assert all('<Choices name="label">' in note for note in space.notes)
    assert ["cdsel_learn" in note for note in space.notes] == [True, True, False, True]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no valid XML"),
        ("<View>", "no valid XML"),
        ("\x00", "no valid XML"),
        ("<View/>", "shows nothing"),
        ('<View><Text name="t" value="$text"/></View>', "it shows Text"),
        ('<View><Image name="image" value="$image"/></View>', "no control tag"),
        (
            config('<Rectangle name="box" toName="image"/>'),
            '<Rectangle name="box"> is no single choice, multiple choice or labels for regions',
        ),
        (config('<RectangleLabels name="box" toName="image"/>'), "at least one <Label>"),
        (
            config('<BrushLabels name="b" toName="image"><Label value="x"/><Label value="x"/></BrushLabels>'),
            "all different",
        ),
        (config(CHOICE.replace("single", "nested")), 'choice="nested"'),
        (config(CHOICE.replace('choice="single"', 'perRegion="true"')), "each region"),
        (config(CHOICE.replace('toName="image"', 'toName="other"')), "points to 'other'"),
        (config(CHOICE, '<Image name="image" valueList="$images"/>'), "names no field"),
        (config(CHOICE, '<Image name="image" value="http://x/a.png"/>'), "names no field"),
        (config(CHOICE, '<Image name="image" value="$images[{{idx}}].url"/>'), "<Repeater>"),
        (config(CHOICE, '<Image name="image" valueList="$images"/>'), "import one a task, and write value"),
        (
            '<View><Repeater on="$images" indexFlag="{{idx}}"><Image name="image_{{idx}}" value="$images[{{idx}}]"/>'
            '<Choices name="c_{{idx}}" toName="image_{{idx}}"><Choice value="a"/><Choice value="b"/></Choices>'
            "</Repeater></View>",
            "in a <Repeater>",
        ),
        (config(PLAIN).replace("<View>", '<View cdsel_learn="true">'), "chooses no control"),
        (config(PLAIN).replace("<View>", '<View cdsel_learn="diagnosis">'), "chooses no control"),
        (
            config('<Choices name="label" toName="image" value="$options"/>'),
            "takes its classes from the tasks",
        ),
        (config('<Choices name="label" toName="image"/>'), "at least two choices"),
        (
            config('<Choices name="label" toName="image"><Choice value="a"/></Choices>'),
            "at least two choices",
        ),
        (
            config('<Choices name="l" toName="image"><Choice value="a"/><Choice value="a"/></Choices>'),
            "all different",
        ),
        (
            config('<Choices name="l" toName="image"><Choice/><Choice value="a"/></Choices>'),
            "without a value",
        ),
        (
            config(
                '<Choices name="l" toName="image"><Choice value="a"><Choice value="b"/></Choice>'
                '<Choice value="c"/></Choices>'
            ),
            "choices within choices",
        ),
    ],
)
def test_other_configs_are_refused_in_words(text, words):
    with pytest.raises(UnsupportedLabelConfig) as caught:
        parse_label_space(text)
    assert words in str(caught.value)
    assert '<Choices choice="single">' in str(caught.value)


def test_entities_are_refused():
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY f SYSTEM "file:///etc/passwd">]>' + config(CHOICE)
    with pytest.raises(UnsupportedLabelConfig, match="entities"):
        parse_label_space(bomb)


SPACE = parse_label_space(config(CHOICE))


def test_labels_go_there_and_back():
    for label in SPACE.classes:
        assert SPACE.label_of(SPACE.result_for(label)) == label
        prediction = {"result": SPACE.result_for(label), "score": 0.5}
        assert not LabelInterface(config(CHOICE)).validate_prediction(prediction, return_errors=True)
    with pytest.raises(UnknownLabel, match="purple"):
        SPACE.result_for("purple")


def answer(*choices: object, control: str = "label") -> list[dict]:
    return [
        {"from_name": control, "to_name": "image", "type": "choices", "value": {"choices": list(choices)}}
    ]


@pytest.mark.parametrize(
    "result",
    [None, [], answer(), answer("benign", control="other"), [{}], [None], [{"from_name": "label"}],
     [{"from_name": "label", "value": {"choices": None}}], [{"from_name": "label", "value": "benign"}]],
)  # fmt: skip
def test_results_that_say_nothing_have_no_label(result):
    assert SPACE.label_of(result) is None


def test_a_value_from_before_its_alias_still_counts():
    assert SPACE.label_of(answer("malignant")) == "MAL"
    assert SPACE.label_of(answer("benign", "benign")) == "benign"


@pytest.mark.parametrize(
    ("choices", "words"), [(["purple"], "'purple' is not in"), (["benign", "MAL"], "several")]
)
def test_labels_outside_the_config_are_named(choices, words):
    with pytest.raises(UnknownLabel, match=words):
        SPACE.label_of(answer(*choices))


def test_an_alias_that_is_another_choices_value_is_that_class():
    space = parse_label_space(
        config(
            '<Choices name="l" toName="image"><Choice value="a" alias="b"/><Choice value="b" alias="c"/></Choices>'
        )
    )
    assert space.classes == ("b", "c")
    assert space.label_of(answer("b", control="l")) == "b"
    assert space.label_of(answer("a", control="l")) == "b"


def test_the_queue_shows_place_and_reason_once():
    shown = queue_config(config(CHOICE))
    line = ElementTree.fromstring(shown)[0]
    assert [(one.tag, one.get("value"), one.get("name")) for one in line] == [
        ("Header", "$cdsel_place", None),
        ("Header", "$cdsel_reason", None),
    ]
    own = config(f'<Header value="$cdsel_reason"/>{CHOICE}')
    assert [one.get("value") for one in ElementTree.fromstring(queue_config(own))[0]] == ["$cdsel_place"]
    assert queue_config(shown) == shown
    assert config(CHOICE) in shown
    assert "<?xml" not in queue_config('<?xml version="1.0"?>' + config(CHOICE))
    LabelInterface(shown).validate()


THREE = CHOICE.replace("</Choices>", '<Choice value="cannot tell"/></Choices>')


def test_a_class_that_is_not_learned_is_no_label_and_no_prediction():
    plain = parse_label_space(config(THREE))
    marked = parse_label_space(config(THREE.replace('"cannot tell"', '"cannot tell" cdsel_learn="false"')))
    space = plain.without(["cannot tell"])
    assert marked.classes == space.classes == plain.classes[:2]
    assert marked.ignored == space.ignored == ("cannot tell",)
    assert "learn" not in marked.settings
    control = space.control
    assert space.label_of(answer("cannot tell", control=control)) is None
    assert space.ignored_in(answer("cannot tell", control=control)) == "cannot tell"
    assert space.ignored_in(answer(plain.classes[0], control=control)) is None
    assert plain.label_of(answer("cannot tell", control=control)) == "cannot tell"
    with pytest.raises(UnknownLabel, match="not in the labeling config"):
        space.result_for("cannot tell")


def test_beside_other_classes_one_that_is_not_learned_is_passed_over():
    space = parse_label_space(config(MULTIPLE))
    first, *others = space.classes
    space = space.without([first])
    both = answer(first, others[0], control=space.control)
    assert space.label_of(both) == space.kind.text([others[0]])
    assert space.ignored_in(both) is None
    alone = answer(first, control=space.control)
    assert (space.label_of(alone), space.ignored_in(alone)) == (None, first)
    assert space.label_of([]) == "[]", "nothing ticked still shows none of the classes"


def test_a_class_to_ignore_that_there_is_not_is_named():
    space = parse_label_space(config(CHOICE))
    with pytest.raises(UnknownLabel, match="ignore_classes names 'unsure', which is no class of"):
        space.without(["unsure"])
    with pytest.raises(UnknownLabel, match="leave at least 2"):
        space.without([space.classes[0]])
    assert label_space(config(CHOICE), None, ["unsure"]) == space
    with pytest.raises(UnsupportedLabelConfig, match='cdsel_learn="false" leaves'):
        parse_label_space(config(CHOICE.replace("<Choice ", '<Choice cdsel_learn="false" ')))


# any of several classes an image


@pytest.mark.parametrize("tag", REGIONS)
def test_regions_count_as_what_the_image_shows(tag):
    text = config(regions(tag))
    space = parse_label_space(text)
    assert (space.kind.name, space.regions, space.classes) == ("presence", True, ("nodule", "EFF"))

    def drawn(name: str) -> dict:
        value = {"x": 1, "y": 1, "width": 5, "height": 5, tag.lower(): [name]}
        return {"from_name": "label", "to_name": "image", "type": tag.lower(), "value": value}

    shape = {"from_name": "shape", "to_name": "image", "type": "rectangle", "value": {"x": 1, "y": 1}}
    assert space.label_of([drawn("nodule"), shape, drawn("effusion"), drawn("nodule")]) == '["EFF","nodule"]'
    assert space.label_of([]) == "[]"
    assert space.result_for('["EFF","nodule"]') == []  # no region is ever made up
    assert space.prediction([0.9, 0.3]) == ([], pytest.approx(0.7))


def test_several_choices_go_there_and_back():
    space = parse_label_space(config(MULTIPLE))
    assert (space.kind.name, space.regions, space.classes) == ("presence", False, ("benign", "MAL"))
    for label in ("[]", '["MAL"]', '["MAL","benign"]'):
        assert space.label_of(space.result_for(label)) == label
        prediction = {"result": space.result_for(label), "score": 0.5}
        assert not LabelInterface(config(MULTIPLE)).validate_prediction(prediction, return_errors=True)
    assert space.label_of(answer("malignant", "benign", "MAL")) == '["MAL","benign"]'
    for foreign in ('["purple"]', '["benign","MAL"]', "benign"):
        with pytest.raises(UnknownLabel):
            space.result_for(foreign)


def test_a_prediction_names_what_is_likely_and_how_sure_the_least_sure_is():
    space = parse_label_space(config(MULTIPLE))
    assert space.prediction([0.9, 0.2]) == (space.result_for('["benign"]'), pytest.approx(0.8))
    assert space.prediction([0.5, 0.7]) == (space.result_for('["MAL","benign"]'), pytest.approx(0.5))
    assert space.prediction([0.1, 0.2]) == ([], pytest.approx(0.8))
    assert SPACE.prediction([0.3, 0.7]) == (SPACE.result_for("MAL"), pytest.approx(0.7))


@pytest.mark.parametrize("control", [MULTIPLE, regions("RectangleLabels")])
def test_nothing_chosen_says_none_of_them_unless_the_control_is_required(control):
    space = parse_label_space(config(control))
    assert space.empty_counts
    assert [space.label_of(result) for result in (None, [], [{}], answer("x", control="other"))] == ["[]"] * 4
    required = parse_label_space(config(control.replace("toName", 'required="true" toName')))
    assert not required.empty_counts
    assert required.label_of([]) is None
    assert not SPACE.empty_counts


def drawn(number, control="other", **value):
    """A part of a result that is a region."""
    return {"id": number, "from_name": control, "value": {"x": 1, "y": 1, "width": 5, "height": 5, **value}}


def test_a_region_without_a_label_does_not_say_none_of_them():
    space = parse_label_space(config(regions("RectangleLabels")))
    control = space.control
    for unlabelled in (drawn("a"), drawn("a", control), drawn("a", control, rectanglelabels=[])):
        with pytest.raises(UnknownLabel, match="a region was drawn that has no label") as caught:
            space.label_of([unlabelled])
        assert caught.value.rest is None
        with pytest.raises(UnknownLabel) as caught:
            space.label_of([unlabelled, drawn("b", control, rectanglelabels=["nodule"])])
        assert caught.value.rest == '["nodule"]'
    # What has a label of any control is no such region; a shape and its label may be two parts.
    assert space.label_of([drawn("a", polygonlabels=["organ"])]) == "[]"
    split = [drawn("a"), {"id": "a", "from_name": control, "value": {"rectanglelabels": ["nodule"]}}]
    assert space.label_of(split) == '["nodule"]'


def test_what_is_known_of_an_answer_counts_and_the_rest_is_named():
    space = parse_label_space(config(MULTIPLE))
    with pytest.raises(UnknownLabel, match="'purple' is not in") as caught:
        space.label_of(answer("purple", "benign"))
    assert caught.value.rest == '["benign"]'
    with pytest.raises(UnknownLabel) as caught:
        space.label_of(answer("purple"))
    assert caught.value.rest is None  # a class that was renamed must not read as "none of them"
    with pytest.raises(UnknownLabel) as caught:
        SPACE.label_of(answer("purple", "benign"))
    assert caught.value.rest is None


def test_one_class_is_enough_where_it_may_be_absent():
    one = '<Choices name="label" toName="image" choice="multiple"><Choice value="fracture"/></Choices>'
    assert parse_label_space(config(one)).classes == ("fracture",)


def test_which_control_is_used_is_the_order_of_kinds_or_the_admins_choice():
    boxes, many, one = (
        control.replace('name="label"', f'name="{name}"')
        for name, control in (("boxes", regions("RectangleLabels")), ("many", MULTIPLE), ("one", PLAIN))
    )

    def used(*controls: str) -> str:
        return parse_label_space(config("".join(controls))).control

    assert used(boxes, many, one) == "one"
    assert used(boxes, many) == "many"
    assert used(boxes, boxes.replace("boxes", "more")) == "boxes"
    chosen = boxes.replace("toName", 'cdsel_round_size="5" toName')
    assert used(many, one, chosen) == "boxes"
    assert parse_label_space(config(one + chosen)).settings == {"round_size": "5"}
    per_region = one.replace("toName", 'perRegion="true" toName')
    assert used(per_region, boxes) == "boxes"
    with pytest.raises(UnsupportedLabelConfig, match="each region"):  # chosen, and of no use: not passed over
        used(per_region.replace("toName", 'cdsel_budget="5" toName'), boxes)


@pytest.mark.parametrize(
    "attribute", ["cdsel_budget", "CDSEL_BUDGET", "cdsel-budget", "cdsel_Budget", "cdsel.budget"]
)
@pytest.mark.parametrize("tag", ["View", "Image", "Choices", "Choice"])
def test_settings_are_read_on_any_tag(attribute, tag):
    text = config(PLAIN).replace(f"<{tag} ", f'<{tag} {attribute}="100" ', 1)
    text = text.replace("<View>", f'<View {attribute}="100">', 1) if tag == "View" else text
    space = parse_label_space(text)
    assert space.settings == {"budget": "100"}
    assert space.notes == ()


def test_settings_on_the_control_go_first_and_what_stands_twice_is_named():
    text = config(CHOICE).replace(
        "<View>", '<View cdsel_budget="100" cdsel_bugdet="50" cdsel_round_size="5" csdel_seed="3">'
    )
    space = parse_label_space(text)
    assert space.settings == {
        "budget": "200",
        "group": "patient",
        "bugdet": "50",
        "round_size": "5",
        "csdel_seed": "3",
    }
    assert space.notes == ('cdsel_budget="100" on <View> is not used: "200" is',)


def test_attributes_may_be_written_in_any_case():
    text = config(PLAIN).replace("toName=", "toname=").replace("value=", "VALUE=")
    assert parse_label_space(text).classes == ("benign", "MAL")


def test_namespaces_do_not_matter():
    text = config(PLAIN).replace(
        "<View>", '<View xmlns="http://x.org/a" xmlns:cdsel="urn:cdsel" cdsel:budget="7">'
    )
    space = parse_label_space(text)
    assert (space.classes, space.settings) == (("benign", "MAL"), {"budget": "7"})


QUALITY = (
    '<Choices name="quality" toName="image"{}><Choice value="good"/><Choice value="poor"/></Choices>'
    + PLAIN.replace('name="label"', 'name="diagnosis" visibleWhen="choice-selected" whenTagName="quality"{}')
)


def test_the_admin_says_which_question_is_learned():
    assert parse_label_space(config(QUALITY.format("", ""))).control == "quality"
    assert parse_label_space(config(QUALITY.format("", "")), learn="diagnosis").control == "diagnosis"
    for mark in (' cdsel_learn="true"', ' CDSEL_LEARN="1"', ' cdsel_learn="diagnosis"'):
        space = parse_label_space(config(QUALITY.format(' cdsel_budget="9"', mark)))
        assert (space.control, space.settings) == ("diagnosis", {"budget": "9"})
    on_view = config(QUALITY.format("", "")).replace("<View>", '<View cdsel_learn="diagnosis">')
    assert parse_label_space(on_view).control == "diagnosis"
    with pytest.raises(UnsupportedLabelConfig, match="it has quality, diagnosis"):
        parse_label_space(config(QUALITY.format("", "")), learn="diagnoses")


@pytest.mark.parametrize(
    ("value", "data", "address", "rest"),
    [
        ("$image", {"image": "a.png", "site": "x"}, "a.png", {"site": "x"}),
        ("$meta.url", {"meta": {"url": "a.png", "site": "x"}}, "a.png", {"meta": {"site": "x"}}),
        ("$meta.url", {"meta.url": "a.png", "meta": {"url": "b.png"}}, "a.png", {"meta": {"url": "b.png"}}),
        ("$images[0].url", {"images": [{"url": "a.png"}, {"url": "b.png"}], "age": 3}, "a.png", {"age": 3}),
        ("$images[1]", {"images": ["a.png", "b.png"]}, "b.png", {}),
        ("$a.b[0][1].c", {"a": {"b": [[0, {"c": "a.png"}]]}}, "a.png", {}),
        ("https://x.org/$folder/$name", {"folder": "p", "name": 7, "sex": "f"}, "https://x.org/p/7", {"sex": "f"}),
        ("$scan-thumb", {"scan": "a"}, "a-thumb", {}),
        ("$image", {"image": {"url": "a.png"}}, None, {}),
        ("$image", {"image": 5}, None, {}),
        ("$meta.url", {"meta": "a.png"}, None, {}),
        ("$meta.url", {"meta": None, "age": 3}, None, {"age": 3}),
        ("$images[2].url", {"images": [{"url": "a.png"}]}, None, {}),
        ("$images[0]", {}, None, {}),
        ("https://x.org/$name", {"name": None}, None, {}),
    ],
)  # fmt: skip
def test_the_image_is_read_where_label_studio_reads_it(value, data, address, rest):
    field = ImageField.parse(value)
    assert field.read(data) == address
    if address is not None or "rest" in data:
        assert field.metadata(data) == rest
    if address is not None and field.plain:
        moved = field.with_address(data, "/data/local-files/?d=c.png")
        assert field.read(moved) == "/data/local-files/?d=c.png"
        assert field.metadata(moved) == rest
        assert field.read(data) == address
    if not field.plain:
        assert field.with_address(data, "c.png") == data


@pytest.mark.parametrize(
    "value", ["$meta['url']", '$images["0"]', "$images[0", "https://x.org/$meta['name'].png"]
)
def test_brackets_that_label_studio_does_not_resolve_are_refused(value):
    with pytest.raises(UnresolvableField, match=re.escape("write $meta.url for the field url of meta")):
        ImageField.parse(value)


def test_a_field_whose_name_label_studio_reads_in_part_is_refused():
    with pytest.raises(UnresolvableField, match="names the field 'Größe', of which Label Studio reads only"):
        ImageField.parse("$Größe")
    assert ImageField.parse("https://host/Größe/$image").plain is None
