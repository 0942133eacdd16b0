"""The op library. A file of entries is imported when one of its ops is first asked for (see `homes`)."""
