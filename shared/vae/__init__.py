"""The models: convolutional variational autoencoders, their losses and the scaling of what they see."""
