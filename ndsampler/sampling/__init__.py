"""
The six steps from a target to a sample.

1. ``target``: :func:`~ndsampler.sampling.target.normalize_target` copies the user's dictionary, renames its
   keys to the canonical names, and adds what an annotation or a box implies (``keys``, ``implied``).
2. ``resolve``: :func:`~ndsampler.sampling.resolve.resolve_region` turns it into a frozen
   :class:`~ndsampler.sampling.region.SampleRegion`: frames, window and margins. An image is treated as a
   video of one frame.
3. ``read``: :func:`~ndsampler.sampling.read.read_frames` reads the pixels of each frame, as a
   :class:`~ndsampler.sampling.region.FrameRequest` describes. ``padding`` fills pixels outside the image.
4. ``annots``: :func:`~ndsampler.sampling.annots.find_annots` finds the annotations of each frame.
5. ``annots``: :func:`~ndsampler.sampling.annots.warp_annots` transforms them to sample coordinates.
6. ``assemble``: :func:`~ndsampler.sampling.assemble.assemble_sample` builds the user's
   dictionary. ``finish`` masks, casts and labels the pixels.
"""
