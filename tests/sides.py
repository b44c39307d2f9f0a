"""Queries and gallery from columns."""

from reid_lightning.retrieval.matches import Side


def sides(query, gallery, query_ids, gallery_ids, query_cameras=None, gallery_cameras=None):
    """The two sides of a retrieval problem."""
    return Side(query, query_ids, query_cameras), Side(gallery, gallery_ids, gallery_cameras)
