"""Google Colab: installing attnlib's requirements, and keeping runs on Google Drive."""
