"""From the channels that go to a smaller network: masks, removal, undoing, verification."""
