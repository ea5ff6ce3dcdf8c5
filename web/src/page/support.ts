// What this browser cannot do, in words, with what to do about it.

/** Why nothing can be heard here; empty where it can. */
export function whyNoSound(): string {
  if (!window.isSecureContext) {
    return (
      'Browsers allow sound only on pages that came over https, or from this computer itself. ' +
      'This page came over http: please open it with https:// instead. If that does not work, the ' +
      'relay needs a certificate (streamcodec serve with --cert and --key).'
    );
  }
  const has =
    typeof AudioContext === 'function' &&
    typeof AudioWorkletNode === 'function' &&
    typeof Worker === 'function' &&
    typeof WebSocket === 'function' &&
    typeof WebAssembly === 'object' &&
    typeof DecompressionStream === 'function' &&
    typeof HTMLDialogElement === 'function';
  return has
    ? ''
    : 'This browser is too old for live sound. Please use Chrome, Edge or Firefox from 2023 or ' +
        'later, or Safari from 16.4 on.';
}

/** Why there is no microphone to be had here; empty where one may be asked for. */
export function whyNoMicrophone(): string {
  return typeof navigator.mediaDevices?.getUserMedia === 'function'
    ? ''
    : 'This browser gives the page no microphone: you can only listen.';
}

/** Whether the page may choose where sound comes out. */
export function choosesLoudspeaker(): boolean {
  return typeof AudioContext === 'function' && 'setSinkId' in AudioContext.prototype;
}

/** What went wrong when the microphone was asked for, and what to do. */
export function microphoneTrouble(error: unknown): string {
  const name = error instanceof Error ? error.name : '';
  const text = error instanceof Error ? error.message : '';
  if (name === 'NotAllowedError' && /system/i.test(text)) {
    return (
      'The system does not let this browser use the microphone. Allow it in the privacy settings ' +
      'of the system, then try again.'
    );
  }
  if (name === 'NotAllowedError' || name === 'SecurityError') {
    return (
      'The microphone was not allowed. Allow it with the button beside the address above, then ' +
      'try again. Or just listen.'
    );
  }
  if (name === 'NotFoundError' || name === 'OverconstrainedError') {
    return 'No microphone was found. Connect one, then try again. Or just listen.';
  }
  if (name === 'NotReadableError' || name === 'AbortError') {
    return 'The microphone cannot be used. If another program uses it, close that, then try again.';
  }
  return `The microphone cannot be used: ${text || name || 'the browser does not say why'}.`;
}
