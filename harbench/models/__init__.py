"""Model families: one file a family, one plain function a variant, found by name.

A model is a public function whose first parameter is `num_classes`; its docstring names the paper. It takes the batch
that the recipe's `input` describes (`[B, 3, T, H, W]` normalized float, or poses `[B, C, T, V, M]`) and returns logits
`[B, K]`.
"""
