"""Google Colab: adding attnlib to it, and keeping runs on Google Drive."""
