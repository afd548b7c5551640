"""Training one model under one seed: what feeds it, what moves it, and how the trained net is read.

``feed`` holds images on the device, ``augment`` draws and applies augmentation there, ``stream`` decodes while training
instead; ``optimizer`` makes optimizer and learning rates, ``trainer`` runs epochs, ``capture`` records a step as a CUDA
graph, ``readings`` tests a trained net with every kind of statistics, ``observe`` says who is told of the epochs.
"""
