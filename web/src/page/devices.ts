// Which microphones and loudspeakers there are.

export interface Device {
  id: string;
  label: string;
}

export interface Devices {
  microphones: Device[];
  loudspeakers: Device[];
}

/** Without names (and then without the devices) until the microphone was allowed once. */
export async function listDevices(): Promise<Devices> {
  let all: MediaDeviceInfo[] = [];
  try {
    all = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  } catch {
    // A policy forbids it: the default devices remain.
  }
  const of = (kind: MediaDeviceKind) =>
    all
      .filter(device => device.kind === kind && !isAlias(device.deviceId))
      .map(device => ({ id: device.deviceId, label: device.label || 'unnamed device' }));
  return { microphones: of('audioinput'), loudspeakers: of('audiooutput') };
}

/** Calls back when something is plugged in or out, until the signal is aborted. */
export function onDeviceChange(changed: () => void, signal: AbortSignal): void {
  navigator.mediaDevices?.addEventListener?.('devicechange', changed, { signal });
}

/** Chromium lists the default devices a second time under these names. */
function isAlias(id: string): boolean {
  return id === '' || id === 'default' || id === 'communications';
}
