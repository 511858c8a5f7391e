"""The site's build and upload, and rules that its sources keep."""

import re
from html.parser import HTMLParser
from io import BytesIO
from typing import Any

import msgspec
import numpy as np
import pytest
from botocore.exceptions import ClientError

from fleet_sim.cloud import site
from fleet_sim.cloud.target import Target
from fleet_sim.resources import data_dir
from fleet_sim.scenario.model import City as CitySpec
from fleet_sim.scenario.model import GeneratedCity
from fleet_sim.world import City

SOURCE = data_dir("infra") / "site"
CONFIG = site.SiteConfig(api="https://api.example", version="", poll_s=2, stale_s=15)
SCRIPTS = {file.name: file.read_text() for file in (SOURCE / "js").glob("*.js")}


class FakeS3:
    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.puts: list[str] = []

    def put_object(self, Key: str, **rest: Any) -> None:  # noqa: N803
        self.objects[Key] = rest
        self.puts.append(Key)

    def head_object(self, Key: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        if Key not in self.objects:
            answer: Any = {"ResponseMetadata": {"HTTPStatusCode": 404}}
            raise ClientError(answer, "HeadObject")
        return self.objects[Key]

    def delete_object(self, Key: str, **_: Any) -> None:  # noqa: N803
        del self.objects[Key]

    def list_objects_v2(self, Prefix: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        return {"KeyCount": sum(key.startswith(Prefix) for key in self.objects)}

    def get_paginator(self, _: str) -> Any:
        return self

    def paginate(self, Prefix: str, **_: Any) -> Any:  # noqa: N803
        return [{"Contents": [{"Key": key} for key in self.objects if key.startswith(Prefix)]}]


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> FakeS3:
    fake = FakeS3()
    monkeypatch.setattr(Target, "client", lambda *_: fake)
    return fake


TARGET = Target("us-east-1", "0" * 12, "fleet-sim", "h", 8883, None, "http://127.0.0.1:1")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture
def tags() -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed((SOURCE / "index.html").read_text())
    return parser.found


class TestBuild:
    def test_the_page_points_to_files_of_the_build(self) -> None:
        _, files = site.build(CONFIG)
        held = {file.key for file in files}
        page = next(file for file in files if file.key == site.PAGE).body.decode()
        named = re.findall(r'(?:src|href)="\./([^"]+)"', page)
        assert len(named) == 3
        assert set(named) <= held

    def test_the_same_sources_have_the_same_version_and_others_another(self) -> None:
        version, files = site.build(CONFIG)
        assert site.build(CONFIG) == (version, files)
        other, changed = site.build(msgspec.structs.replace(CONFIG, poll_s=3))
        assert other != version
        # Settings change no asset: browsers keep what they have.
        assert [f.key for f in changed] == [f.key for f in files]

    def test_assets_are_kept_for_ever_and_the_rest_is_asked_for_again(self) -> None:
        for file in site.build(CONFIG)[1]:
            assert ("immutable" in file.cache) == file.key.startswith("assets/"), file.key

    def test_modules_have_the_type_that_browsers_ask_for(self) -> None:
        types = {f.key.rpartition(".")[2]: f.content_type for f in site.build(CONFIG)[1]}
        assert types["js"].startswith("text/javascript")
        assert types["css"].startswith("text/css")

    def test_a_file_of_no_known_kind_is_named(self, tmp_path: Any) -> None:
        (tmp_path / "index.html").write_text("")
        (tmp_path / "odd.zzz").write_text("")
        with pytest.raises(ValueError, match=r"infra/site/odd\.zzz"):
            site.build(CONFIG, tmp_path)


class TestPublish:
    def test_the_page_is_the_last_of_all_files(self, s3: FakeS3) -> None:
        assert site.publish(TARGET, "b", CONFIG)
        assert s3.puts[-1] == site.PAGE
        assert site.CITY_KEY in s3.puts

    def test_an_unchanged_site_is_left_alone(self, s3: FakeS3) -> None:
        site.publish(TARGET, "b", CONFIG)
        before = list(s3.puts)
        assert not site.publish(TARGET, "b", CONFIG)
        assert s3.puts == before

    def test_a_new_build_removes_the_old_files_and_keeps_the_city(self, s3: FakeS3) -> None:
        s3.put_object("assets/old/js/main.js", Metadata={})
        s3.put_object(site.CITY_KEY, Body=b"mine")
        site.publish(TARGET, "b", CONFIG)
        assert "assets/old/js/main.js" not in s3.objects
        assert s3.objects[site.CITY_KEY]["Body"] == b"mine"

    def test_another_failure_than_not_there_is_raised(
        self, s3: FakeS3, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(**_: Any) -> None:
            answer: Any = {"ResponseMetadata": {"HTTPStatusCode": 403}}
            raise ClientError(answer, "HeadObject")

        monkeypatch.setattr(s3, "head_object", refuse)
        with pytest.raises(ClientError):
            site.publish(TARGET, "b", CONFIG)

    def test_the_address_is_a_path_of_the_local_gateway(self) -> None:
        assert site.address(TARGET, "d.cloudfront.net", "E1") == (
            "http://127.0.0.1:1/_aws/cloudfront/E1/"
        )
        aws = Target("eu-west-1", "1" * 12, "fleet-sim", "h", 8883, None)
        assert site.address(aws, "d.cloudfront.net", "E1") == "https://d.cloudfront.net/"


@pytest.fixture(scope="module")
def city() -> City:
    return City.generate(GeneratedCity(blocks=(3, 2)), 7, CitySpec())


class TestCity:
    def test_each_piece_of_street_is_drawn_once_with_all_its_lanes(self, city: City) -> None:
        drawn = site.city_document([city])
        roads = city.roads
        ends = {frozenset(pair) for pair in zip(roads.tail, roads.head, strict=True)}
        assert len(drawn.lines) == len(ends)
        assert sum(line[1] for line in drawn.lines) == roads.lanes.sum()
        first = drawn.lines[0]
        lat, lon = city.projection.to_degrees(roads.node_x, roads.node_y)
        assert np.isclose(lat, first[2], atol=1e-6).any()
        assert np.isclose(lon, first[3], atol=1e-6).any()

    def test_stalls_are_the_registrys_and_name_their_street(self, city: City) -> None:
        drawn = site.city_document([city]).stalls
        told = city.to_registry().spots
        names = site.city_document([city]).streets
        assert drawn.id == [spot.id for spot in told]
        assert [names[k] for k in drawn.street] == [spot.street for spot in told]

    def test_what_is_put_can_be_read(self, city: City, s3: FakeS3) -> None:
        site.publish_city(TARGET, "b", [city])
        body = s3.objects[site.CITY_KEY]["Body"]
        found = msgspec.json.decode(BytesIO(body).read(), type=site.CityDocument)
        assert found == site.city_document([city])


class TestSources:
    """What the content security policy forbids would only fail in a browser."""

    def test_the_page_has_no_inline_script_or_style(
        self, tags: list[tuple[str, dict[str, str | None]]]
    ) -> None:
        for tag, attributes in tags:
            assert tag != "style"
            assert tag != "script" or "src" in attributes
            assert not [name for name in attributes if name == "style" or name.startswith("on")]

    def test_nothing_comes_from_elsewhere(self) -> None:
        for file in SOURCE.rglob("*"):
            if file.is_file():
                text = file.read_text().replace("http://www.w3.org/2000/svg", "")
                assert not re.search(r"(https?:)?//[a-z]+\.", text), file.name

    def test_scripts_look_for_elements_that_are_there(
        self, tags: list[tuple[str, dict[str, str | None]]]
    ) -> None:
        ids = {attributes["id"] for _, attributes in tags if "id" in attributes}
        looked = {
            name
            for text in SCRIPTS.values()
            for name in re.findall(r'(?:\$|getElementById)\("([^"]+)"\)', text)
        }
        assert len(looked) > 20
        assert looked <= ids

    def test_inputs_have_labels(self, tags: list[tuple[str, dict[str, str | None]]]) -> None:
        labelled = {attributes.get("for") for tag, attributes in tags if tag == "label"}
        source = (SOURCE / "index.html").read_text()
        for tag, attributes in tags:
            if tag == "input" and attributes["id"] not in labelled:
                inside = rf'<label>[^<]*<input[^>]*id="{attributes["id"]}"'
                assert re.search(inside, source), attributes

    def test_imports_are_modules_of_the_site(self) -> None:
        for name, text in SCRIPTS.items():
            for other in re.findall(r'from "\./([^"]+)"', text):
                assert other in SCRIPTS, name
