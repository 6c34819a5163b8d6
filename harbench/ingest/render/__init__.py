"""The renderer of `sample` and `sample_stills`: `archive.render_archives` writes archives as any data set has them."""
