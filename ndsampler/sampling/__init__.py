"""
How a sample is made, one module a step.

1. ``target``: :func:`~ndsampler.sampling.target.normalize_target` copies the user's dictionary, gives its
   keys their canonical names and fills in what an annotation id stands for.
2. ``region``: :func:`~ndsampler.sampling.region.resolve_region` turns it into a frozen
   :class:`~ndsampler.sampling.region.SampleRegion`: frames, window, margins. An image is a video of one
   frame.
3. ``read``: :func:`~ndsampler.sampling.read.read_frames` gets the pixels, and the matrix from each frame
   to the sample.
4. ``annots``: :func:`~ndsampler.sampling.annots.find_annots` finds the annotation ids of each frame,
5. and :func:`~ndsampler.sampling.annots.warp_annots` their geometry in sample coordinates.
6. ``assemble``: :func:`~ndsampler.sampling.assemble.assemble_sample` builds the dictionary the user sees.
"""
