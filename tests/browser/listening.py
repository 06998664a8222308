"""An ear inside the browser: what reaches the loudspeakers, and states that are shown for a moment only."""

from __future__ import annotations

from playwright.sync_api import Locator, Page

EAR = """
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (target, ...rest) {
  if (target instanceof AudioDestinationNode) {
    window.ear ??= new AnalyserNode(target.context, { fftSize: 32768 });
    if (window.ear.context === target.context) connect.call(this, window.ear);
  }
  return connect.call(this, target, ...rest);
};
window.loudest = (count = 4096) => {
  if (!window.ear) return 0;
  const samples = new Float32Array(32768);
  window.ear.getFloatTimeDomainData(samples);
  return samples.slice(-count).reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
};
"""
"""For `add_init_script`: `loudest()` is the largest sample of the newest player's last moment, of 32,768 at most."""

STATES = """
window.states = [];
new MutationObserver(() => {
  const state = document.querySelector('.badge[data-state]')?.dataset.state;
  if (state && window.states.at(-1) !== state) window.states.push(state);
}).observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
"""
"""For `add_init_script`: `states` are those that the first job of the page was shown in."""


def position_of(page: Page, title: str) -> Locator:
    """The slider that tells where a sound is."""
    return page.get_by_role("slider", name=f"Position in {title}", exact=True)


def wait_beyond(slider: Locator, seconds: float) -> None:
    """Wait until the sound is beyond that place."""
    slider.page.wait_for_function(
        "([slider, seconds]) => Number(slider.value) > seconds", arg=[slider.element_handle(), seconds]
    )
