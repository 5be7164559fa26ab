"""A scene in which one person is to be another: who is in it and where, of any length."""
