"""The mathematics, traced: arrays in, arrays out, no units, no files.

`stats` has the Cash statistic and its derivatives, `solve` the Newton iteration, `norm` the fit of
one pixel. `windows` says which bins a pixel sees; `ts_map` fits all pixels in traced code and
`occupied` the same faster: from lists of the bins that have counts (`lists`, `gathered`) or whole
windows of bins (`windowed`), tile by tile (`chunk`), with the physical bound of `bound`. `fold`
predicts counts; `convolve`, `lima` and `kernel_background` clean a background.
"""
