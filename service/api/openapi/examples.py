"""Examples for the document: requests and answers from the sample shop."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from service.api.answers import (
    AnonymousRecommendations,
    Audience,
    BatchRecommendations,
    Explanation,
    FoundItem,
    FoundItems,
    Item,
    ItemScores,
    PopularItems,
    Recommendations,
    ScoredItem,
    ScoredUser,
    SessionRecommendations,
    SimilarItems,
    SimilarUsers,
    UnknownItem,
    UserFailure,
    UserIds,
    UserItems,
    UserResult,
    WeightedItem,
    encode,
)
from service.api.handlers.model import AttributeFacts, CatalogFacts, S3Facts, ServedModel, SourceFacts
from service.api.parameters import (
    AnonymousBody,
    BatchBody,
    GivenItem,
    PercentBody,
    RollBackBody,
    SessionBody,
    VersionBody,
)
from service.live.commands import KeptVersion, KeptVersions
from service.live.report import Poll, Reload, Served
from service.model.scoring.score_ranges import Range, ScoreRanges
from service.s3.versions import Download

USER, ITEM = "ana-0000", "horror-the-hungry-corpse"
IDS = ["cookery-the-rustic-loaf", "gardening-the-wild-orchard"]
REQUEST_ID = "8b6fcd059a734ecf"

_VERSION, _EARLIER = "ca6ec6774e50a016", "0f3b8a6c51de7724"
_LOADED, _EARLIER_LOADED = datetime(2026, 3, 2, 4, 5, 6, tzinfo=UTC), datetime(2026, 3, 1, 4, 4, 58, tzinfo=UTC)
_SECONDS = {"verify": 0.01, "read": 0.04, "validate": 0.02, "write": 0.01, "open": 0.01, "warm": 0.02, "swap": 0.0}
_BEST = [ScoredItem(ITEM, 0.96816194), ScoredItem("horror-the-hungry-shadow", 0.95930016)]
_MOST_HAD = [ScoredItem("history-the-colonial-archive", 797.0)]
_COOKERY = [
    ScoredItem("cookery-the-one-pot-feast", 0.46214393),
    ScoredItem("cookery-the-vegetarian-supper", 0.44384485),
]
_DOWNLOAD = Download(
    key="models/als_model_20260302_040455.npz",
    version_id="3HL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY",
    etag='"9b2cf535f27731c974343645a3985328"',
    sha256=f"{_VERSION}{'0' * 48}",
    bytes=10_763_099,
    modified_at=_LOADED,
    downloaded_at=_LOADED,
    seconds=0.4,
)
_HISTOGRAM = (2, 9, 31, 58, 64, 40, 21, 8, 3, 1)
_RELOAD = Reload("swapped", "", "", _LOADED, _VERSION, _SECONDS)
SERVED_MODEL = ServedModel(
    kernel="int8",
    model_version=_VERSION,
    state="ready",
    source=SourceFacts("/models/als_model.npz", "npz", 10_763_099, f"{_VERSION}{'0' * 48}", _LOADED),
    users=18_902,
    items=34_911,
    factors=50,
    seen_pairs=810_128,
    bytes=21_400_000,
    made_at=_LOADED,
    loaded_at=_LOADED,
    load_seconds=_SECONDS,
    score_ranges=ScoreRanges(
        individual=Range(-0.31, 1.02, 0.01, 0.06, -0.09, 0.0, 0.27, _HISTOGRAM),
        recommendation=Range(0.08, 1.31, 0.47, 0.21, 0.11, 0.44, 1.03, _HISTOGRAM),
        popularity=Range(0.0, 797.0, 23.2, 41.7, 0.0, 9.0, 201.0, _HISTOGRAM),
    ),
    waiting_for=[],
    catalog=CatalogFacts(
        "9a1c07d4e2b86f35",
        35_204,
        34_880,
        [AttributeFacts("genre", "text", is_list=False, values=["cookery", "horror"])],
    ),
    unavailable_items=112,
    hidden_users=3,
    candidate=None,
    training=None,
    s3=S3Facts("s3://my-bucket/models/", Poll("unchanged", "", "", _LOADED), _LOADED, _DOWNLOAD, _DOWNLOAD),
    last_reload=_RELOAD,
    reloads=[_RELOAD],
    earlier_versions=[Served(_EARLIER, _EARLIER_LOADED)],
)

BATCH_BODY = BatchBody(users=[USER, "nobody"], n=1, fallback="none")
ANONYMOUS_BODY = AnonymousBody(items=[GivenItem(IDS[0]), GivenItem(IDS[1], 2.0)], n=2)
SESSION_BODY = SessionBody(items=[GivenItem(IDS[0]), GivenItem(ITEM, -1.0)], n=2)
RECOMMENDATIONS = Recommendations(_VERSION, USER, "als", _BEST)
BATCH_RECOMMENDATIONS = BatchRecommendations(
    _VERSION,
    [msgspec.Raw(encode(UserResult(USER, "als", _BEST[:1]))), msgspec.Raw(encode(UserFailure("nobody")))],
)
ANONYMOUS_RECOMMENDATIONS = AnonymousRecommendations(_VERSION, "fold_in", _COOKERY, [])
SESSION_RECOMMENDATIONS = SessionRecommendations(_VERSION, USER, "session", _COOKERY, [])
USERS = UserIds(_VERSION, [USER, "ana-0004"])
USER_ITEMS = UserItems(_VERSION, USER, [WeightedItem("horror-the-screaming-grave", 2.0)])
ITEM_SCORES = ItemScores(_VERSION, USER, [_BEST[0], UnknownItem("horror-the-lost-manuscript")])
EXPLANATION = Explanation(_VERSION, USER, ITEM, 0.97755802, [ScoredItem("horror-the-screaming-grave", 0.223483309)])
SIMILAR_USERS = SimilarUsers(_VERSION, USER, [ScoredUser("ben-0031", 0.98312)])
SIMILAR_ITEMS = SimilarItems(_VERSION, ITEM, [ScoredItem("horror-the-hungry-shadow", 0.99178)])
AUDIENCE = Audience(_VERSION, ITEM, [ScoredUser("ben-0031", 1.01327), ScoredUser(USER, 0.96816194)])
ITEMS = FoundItems(_VERSION, [FoundItem(ITEM, "The Hungry Corpse"), FoundItem("horror-the-hungry-shadow")])
DESCRIBED_ITEM = Item(
    _VERSION,
    ITEM,
    available=True,
    attributes={"genre": "horror", "price": 9.99, "released": "2024-10-31", "formats": ["paperback", "ebook"]},
    title="The Hungry Corpse",
)
POPULAR_ITEMS = PopularItems(_VERSION, _MOST_HAD)

VERSION_BODY = VersionBody(model_version=_EARLIER)
PERCENT_BODY = PercentBody(percent=10.0)
ROLL_BACK_BODY = RollBackBody(model_version=_EARLIER)
VERSIONS = KeptVersions(
    _EARLIER,
    _EARLIER,
    None,
    0.0,
    [
        KeptVersion(
            _EARLIER,
            served=True,
            was_served=True,
            pinned=True,
            accepted=False,
            quarantined=False,
            last_used_at=_LOADED,
        ),
        KeptVersion(
            _VERSION,
            served=False,
            was_served=True,
            pinned=False,
            accepted=False,
            quarantined=False,
            last_used_at=_EARLIER_LOADED,
        ),
    ],
)
