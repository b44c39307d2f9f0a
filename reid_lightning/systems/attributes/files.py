"""What a test of attributes leaves: predictions in the form of the annotations, ranked lists, and pictures."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from reid_lightning.data.annotations import AttributeForm, read_attributes
from reid_lightning.data.attributes import AttributeSchema
from reid_lightning.reporting.cells import write_csv
from reid_lightning.reporting.page import Picture
from reid_lightning.reporting.ranked_files import RANKED, bare_names, file_names, write_ranked_files
from reid_lightning.retrieval.evaluation import EvaluationRows, nearest_rows
from reid_lightning.retrieval.protocol import EvaluationProtocol
from reid_lightning.systems.attributes.charts import attribute_bars, confusion_matrices, junk_roc
from reid_lightning.systems.attributes.scores import AttributeRows, AttributeScores, predicted_classes

CLASSIFICATION, SQUARED = "classification_test.csv", "squared_scores.csv"
CONFUSED = 5  # classes from which on an attribute's confusions are drawn


def write_attribute_files(
    answers: AttributeRows,
    ranked: EvaluationRows,
    protocol: EvaluationProtocol,
    table: pd.DataFrame,
    schema: AttributeSchema,
    form: AttributeForm,
    gallery_files: int,
    output_dir: Path,
) -> None:
    """Write `classification_test.csv` and `reid_test.txt` into a run's folder.

    The first has the columns and the coding of the annotations that were trained on, the image's file in place of the
    identity, and `squared_scores`, which is low for likely distractors. The second has a line per query: its file, a
    colon, and the nearest gallery files by mean squared error, separated by commas; images that the protocol leaves out
    (same person and camera) are left out here.

    Of a test set without identities the first holds the gallery alone, in the annotations' own columns, as the University of
    Trento's task hands it in; the squared scores are in `squared_scores.csv`.

    Args:
        answers: Predictions of every test image.
        ranked: Embeddings of every test image.
        protocol: Says which gallery images are left out.
        table: Rows that both refer to.
        schema: The attributes.
        form: The annotations' columns and coding.
        gallery_files: Gallery files per query.
        output_dir: The run's folder.
    """
    names = bare_names(table) if not ranked.has_people else file_names(table)
    rows = answers.index.cpu().numpy()
    codes = predicted_classes(answers.probabilities, schema.sizes).cpu().numpy()
    squared = answers.squared_scores.cpu().numpy().round(6)
    if not ranked.has_people:
        gallery_only = (table["split"] == "gallery").to_numpy()[rows]
        rows, codes, squared = rows[gallery_only], codes[gallery_only], squared[gallery_only]
    written = form.write(codes, schema)
    written.insert(0, form.identity_column, names[rows])
    scores = pd.DataFrame({"squared_scores": squared})
    if ranked.has_people:
        written["squared_scores"] = scores
    else:
        scores.insert(0, form.identity_column, names[rows])
        write_csv(scores, output_dir / SQUARED)
    write_csv(written, output_dir / CLASSIFICATION)
    query, gallery = ranked.query, ranked.gallery
    by_error = replace(protocol, distance="sqeuclidean", rerank=None)  # ranks as the mean squared error does
    found = nearest_rows(ranked, gallery_files, by_error)
    gallery_names, query_names = (names[side.index.cpu().numpy()] for side in (gallery, query))
    write_ranked_files(output_dir / RANKED, query_names, gallery_names, found.indices.cpu().numpy())


def form_of(table: pd.DataFrame, schema: AttributeSchema) -> AttributeForm:
    """Return the form of the file that the training images' attributes come from, or the table's own."""
    train = table[table["split"] == "train"]
    files = list(train["attribute_file"].dropna().unique()) if "attribute_file" in table.columns else []
    return read_attributes(files[0], schema).form if files else AttributeForm.of_schema(schema)


def draw_attributes(
    scores: AttributeScores,
    answers: AttributeRows,
    table: pd.DataFrame,
    schema: AttributeSchema,
    output_dir: Path,
) -> list[Picture]:
    """Draw the attributes' scores, what is confused, and the search for distractors; return what could be drawn."""
    known = [place for place, head in enumerate(scores.heads) if head.accuracy == head.accuracy]
    pictures: list[Picture] = []
    if known:
        bars = output_dir / "attributes.png"
        order = sorted(known, key=lambda place: scores.heads[place].majority - scores.heads[place].accuracy)
        drawn = {
            name: [getattr(scores.heads[place], name) for place in order]
            for name in ("accuracy", "balanced_accuracy", "majority")
        }
        drawn["balanced_majority"] = [scores.balanced_majority(place) for place in order]
        attribute_bars([schema.attributes[place].title for place in order], drawn, bars)
        above = sum(scores.heads[place].accuracy > scores.heads[place].majority for place in known)
        caption = (
            "Attributes in the order of how far their accuracy lies above that of always answering the training's most "
            f"frequent class, which {above} of {len(known)} exceed. Balanced accuracy is the mean over the classes that "
            "occur, of which always the same answer gets one right."
        )
        pictures.append(Picture("Attributes", bars, caption, width=46))
    many = [place for place in known if schema.sizes[place] >= CONFUSED]
    if many:
        confused = output_dir / "attribute_confusions.png"
        confusion_matrices(
            [schema.attributes[place].title for place in many],
            [schema.attributes[place].classes for place in many],
            [scores.confusions[place].numpy() for place in many],
            confused,
        )
        pictures.append(
            Picture("Confused classes", confused, "True classes with their images; a row adds up to 100.")
        )
    return pictures + _junk(answers, table, output_dir)


def _junk(answers: AttributeRows, table: pd.DataFrame, output_dir: Path) -> list[Picture]:
    index = answers.index.cpu().numpy()
    is_distractor = table["distractor"].to_numpy(bool)[index]
    if not is_distractor.any() or is_distractor.all():
        return []
    path = output_dir / "distractors.png"
    area = junk_roc(answers.squared_scores.double().cpu().numpy(), is_distractor, path)
    caption = (
        f"{int(is_distractor.sum()):,} distractors among {len(index):,} test images, found by a low sum of squared "
        f"attribute scores: area under the curve {area:.3f}."
    )
    return [Picture("Distractors", path, caption, width=28)]
