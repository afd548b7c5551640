"""Why a normalizer does what it does: measures that look into a training, a file each."""
