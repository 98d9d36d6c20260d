"""The software and the machine that numbers were made with: facts on record, and files of versions to install."""
