"""Clusters of rows with names, thin ones, and rows unlike all others."""

from __future__ import annotations

from burnish.inspection.clusters import find_clusters
from burnish.models.embed import load_embedder

SUBJECTS = {
    "weather": [f"Will it {what} in {where} {when}?" for what in ("rain", "snow", "be sunny") for where in (
        "Oslo", "Rome", "Lima") for when in ("today", "tomorrow", "tonight", "on Sunday")],
    "music": [f"Play the {what} {thing} by {who}" for what in ("new", "old", "best") for thing in (
        "album", "song") for who in ("Madonna", "Bach", "Queen", "Miles Davis", "Abba", "Adele")],
    "banking": [f"Transfer {much} euros to my {what} account {when}" for much in (10, 200, 3000) for what in (
        "savings", "shared", "second") for when in ("now", "today", "tomorrow", "monthly")],
}  # fmt: skip


def test_subjects_become_clusters_named_by_their_words():
    texts = [text for rows in SUBJECTS.values() for text in rows]
    texts.append("Photosynthesis turns light into chemical energy in chloroplasts.")
    found = find_clusters(load_embedder().embed(texts), texts)
    assert [cluster.rows for cluster in found.clusters] == sorted(
        (cluster.rows for cluster in found.clusters), reverse=True
    )
    assert sum(cluster.rows for cluster in found.clusters) == len(texts)
    assert found.silhouette > 0.2
    start = 0
    for subject, rows in SUBJECTS.items():
        members = set(found.of[start : start + len(rows)].tolist())
        others = set(found.of[:start].tolist()) | set(found.of[start + len(rows) : -1].tolist())
        assert not members & others, f"{subject} shares a cluster with another subject"
        start += len(rows)
    names = " ".join(cluster.name for cluster in found.clusters)
    for word in ("play", "account", "will"):
        assert word in names
    assert len(texts) - 1 in found.edge_cases.tolist()
    for place, cluster in enumerate(found.clusters):
        assert found.of[cluster.typical] == place
        assert cluster.thin == (cluster.rows < 0.02 * len(texts))


def test_equal_rows_are_one_cluster():
    texts = ["the same text"] * 30
    found = find_clusters(load_embedder().embed(texts), texts)
    assert [cluster.rows for cluster in found.clusters] == [30]
    assert len(found.edge_cases) == 0
