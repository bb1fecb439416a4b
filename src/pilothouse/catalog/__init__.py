"""Tables of facts about the service: metrics, problem types, algorithms, images. Import-light."""
