"""Where facts about a run are kept."""
