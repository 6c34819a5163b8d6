"""Archive -> media on disk: unpack, match, boxes, skeleton files, and the renderer of `sample`."""
