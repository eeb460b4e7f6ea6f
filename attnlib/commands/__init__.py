"""The commands of ``attnlib``, one file each: thin functions over the package's API."""
